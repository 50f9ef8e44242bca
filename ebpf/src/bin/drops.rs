//! Counts the packets that the kernel drops, by reason, network namespace and interface.

#![no_std]
#![no_main]

#[path = "../object.rs"]
mod object;

use aya_ebpf::btf_maps::{Array, PerCpuArray, PerCpuHashMap};
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{btf_map, raw_tracepoint};
use aya_ebpf::programs::RawTracePointContext;
use synscope_abi::drops::{DROP_KEYS, DropKey, DropOffsets};

#[btf_map]
static OFFSETS: Array<DropOffsets, 1> = Array::new();
#[btf_map]
static DROPS: PerCpuHashMap<DropKey, u64, DROP_KEYS> = PerCpuHashMap::new();
/// Drops that found no room to be counted by key.
#[btf_map]
static REFUSED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// `kfree_skb(skb, location, reason)`: a packet that was not delivered.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    let (skb, reason): (u64, u32) = (ctx.arg(0), ctx.arg(2));
    // 0 is "not dropped yet" on every kernel.
    if reason == 0 {
        return 0;
    }
    let Some(offsets) = OFFSETS.get(0) else {
        return 0;
    };
    let mut key = DropKey { reason, netns: 0, ifindex: 0 };
    let device: u64 = read(skb, offsets.skb_dev);
    key.netns = inode(device, offsets.dev_net, offsets);
    if key.netns != 0 {
        key.ifindex = read(device, offsets.dev_ifindex);
    } else {
        // No device, or something else in its place: a packet in a UDP socket's queue keeps its size there
        // (net/ipv4/udp.c, udp_set_dev_scratch).
        key.netns = inode(read(skb, offsets.skb_sk), offsets.sk_net, offsets);
    }
    if let Some(count) = DROPS.get_ptr_mut(key) {
        // SAFETY: the slot is this CPU's; a drop in an interrupt that comes between may be missed, and only that.
        unsafe { *count += 1 };
    } else if DROPS.insert(key, 1, 0).is_err()
        && let Some(refused) = REFUSED.get_ptr_mut(0)
    {
        // SAFETY: as above.
        unsafe { *refused += 1 };
    }
    0
}

/// The namespace of a device or socket; 0 where there is none.
#[inline(always)]
fn inode(owner: u64, at: u32, offsets: &DropOffsets) -> u32 {
    if owner == 0 {
        return 0;
    }
    let net: u64 = read(owner, at);
    if net == 0 { 0 } else { read(net, offsets.net_inode) }
}

/// Reads a kernel field; 0 where it cannot be read.
#[inline(always)]
fn read<T: Copy + Default>(base: u64, offset: u32) -> T {
    // SAFETY: the helper checks the address itself.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.unwrap_or_default()
}
