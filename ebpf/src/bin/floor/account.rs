//! What an accounting agent does with each packet.

use aya_ebpf::bindings::{BPF_ANY, TC_ACT_UNSPEC};
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use synscope_abi::flow::FlowKey;

use crate::{now_ns, parse};

/// NetObserv's `CACHE_MAX_FLOWS`.
const ACCOUNTED: usize = 5000;
/// Flows as an accounting agent keeps them.
#[btf_map]
static ACCOUNTS: HashMap<AccountKey, Account, ACCOUNTED> = HashMap::new();

/// NetObserv's `flow_id`: addresses as IPv6, whatever they are.
#[derive(Clone, Copy)]
#[repr(C)]
struct AccountKey {
    addresses: [[u8; 16]; 2],
    ports: [[u8; 2]; 2],
    protocol: u8,
    icmp: [u8; 2],
    direction: u8,
}

/// The part of its `flow_metrics` that each packet touches, padded to its length.
#[derive(Clone, Copy)]
#[repr(C)]
struct Account {
    start_ns: u64,
    end_ns: u64,
    bytes: u64,
    packets: u32,
    flags: u16,
    ethertype: u16,
    macs: [u8; 12],
    ifindex: u32,
    rest: [u32; 12],
}

/// What an agent of NetObserv's kind does with each packet: a zeroed key of 40 bytes, the clock, one lookup in a shared
/// hash, counters, flags and the last stamp. Without its sampling, its filters and the lock around the update.
#[classifier]
pub fn account(ctx: TcContext) -> i32 {
    let Some(FlowKey { address_a, address_b, port_a, port_b, protocol, .. }) = parse(&ctx) else {
        return TC_ACT_UNSPEC;
    };
    let mapped = |[a, b, c, d]: [u8; 4]| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
    let key = AccountKey {
        addresses: [mapped(address_a), mapped(address_b)],
        ports: [port_a, port_b],
        protocol,
        icmp: [0; 2],
        direction: 0,
    };
    let (now, bytes) = (now_ns(), u64::from(ctx.len()));
    if let Some(account) = ACCOUNTS.get_ptr_mut(key) {
        // SAFETY: the entry stays allocated while the program runs (RCU); one CPU writes it.
        let account = unsafe { &mut *account };
        account.packets += 1;
        account.bytes += bytes;
        account.end_ns = now;
        account.flags |= 0x10;
    } else {
        let account = Account {
            start_ns: now,
            end_ns: now,
            bytes,
            packets: 1,
            flags: 0x10,
            ethertype: 0x800,
            macs: [0; 12],
            ifindex: 0,
            rest: [0; 12],
        };
        // A full table is the bench's mistake, and shows as a cost that is too low to be true.
        let _full = ACCOUNTS.insert(key, account, u64::from(BPF_ANY));
    }
    TC_ACT_UNSPEC
}
