//! What the bench compares the datapath with: the least that a program of the same purpose can do. Never shipped.
//!
//! Maps and the event record are the datapath's own sources, so that both sides work on the same things.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "floor/account.rs"]
mod account;
#[path = "../maps.rs"]
#[allow(dead_code, reason = "the floor works on some of the datapath's maps")]
mod maps;
#[path = "../object.rs"]
mod object;
#[path = "../report.rs"]
mod report;

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::{BPF_ANY, BPF_RB_NO_WAKEUP, TC_ACT_UNSPEC, seq_file};
use aya_ebpf::btf_maps::{Array, HashMap, ProgramArray};
use aya_ebpf::helpers::generated::{bpf_for_each_map_elem, bpf_ktime_get_ns, bpf_map_delete_elem, bpf_seq_write};
use aya_ebpf::macros::{btf_map, classifier, raw_tracepoint, xdp};
use aya_ebpf::programs::{RawTracePointContext, TcContext, XdpContext};
use synscope_abi::counter::Counter;
use synscope_abi::event::{Event, EventKind, Reason, Verdict};
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::CURRENT;

use crate::maps::{EVENTS, FLOWS_V4, count, new_flow};
use crate::report::Note;

const BPF_F_NO_PREALLOC: usize = synscope_abi::NO_PREALLOC as usize;
/// Room for a measurement of a million new flows.
const ENTRIES: usize = 1 << 21;
/// Recorded events.
const RECORDS: usize = 4096;
/// Where addresses and ports are in an Ethernet frame with IPv4 and TCP without options.
const SOURCE: usize = 26;
const PORTS: usize = 34;
const TCP_END: usize = 54;

/// The floor's own table.
#[btf_map]
static FLOOR: HashMap<FlowKey<4>, Flow, ENTRIES, BPF_F_NO_PREALLOC> = HashMap::new();
/// What a stage calls.
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();
/// The stages' state: the seed of the random one, the number of the other.
#[btf_map]
static STAGE: Array<u64, 2> = Array::new();
/// Random flows are taken of so many.
#[btf_map]
static WORKING_SET: Array<u64, 1> = Array::new();
/// Events as they are replayed; their stamps are times before now, not times.
#[btf_map]
static RECORDED: Array<Event, RECORDS> = Array::new();
/// The next one to replay.
#[btf_map]
static REPLAYED: Array<u64, 1> = Array::new();

/// Nothing: what it costs to be called.
#[classifier]
pub fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The same where the driver hands packets over.
#[xdp]
pub fn xdp_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Parse, one lookup, two plain counters.
#[classifier]
pub fn known(ctx: TcContext) -> i32 {
    if let Some(key) = parse(&ctx)
        && let Some(flow) = FLOOR.get_ptr_mut(key)
    {
        // SAFETY: the entry stays allocated while the program runs (RCU); one CPU writes it.
        let flow = unsafe { &mut *flow };
        flow.packets[0] += 1;
        flow.bytes[0] += u64::from(ctx.len());
    }
    TC_ACT_UNSPEC
}

/// Parse, one insert, one record.
#[classifier]
pub fn unknown(ctx: TcContext) -> i32 {
    if let Some(key) = parse(&ctx)
        && FLOOR.insert(key, Flow::default(), u64::from(BPF_ANY)).is_ok()
    {
        bare_record();
    }
    TC_ACT_UNSPEC
}

/// One record with nothing in it.
#[classifier]
pub fn submit(_ctx: TcContext) -> i32 {
    bare_record();
    TC_ACT_UNSPEC
}

/// One record as the datapath writes it, of a flow that is at hand.
#[classifier]
pub fn event(_ctx: TcContext) -> i32 {
    told(0)
}

/// The same, with its time stamp.
#[classifier]
pub fn event_now(_ctx: TcContext) -> i32 {
    told(now_ns())
}

/// Makes the packet one of a random flow of the working set, and calls the program under test.
#[classifier]
pub fn stage_random(ctx: TcContext) -> i32 {
    if let (Some(state), Some(flows)) = (STAGE.get_ptr_mut(0), WORKING_SET.get(0)) {
        // SAFETY: one CPU runs the bench.
        let state = unsafe { &mut *state };
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        become_flow(&ctx, (((*state >> 32) * *flows) >> 32) as u32);
    }
    call(&ctx)
}

/// Makes the packet one of the next flow, and calls the program under test.
#[classifier]
pub fn stage_next(ctx: TcContext) -> i32 {
    if let Some(number) = STAGE.get_ptr_mut(1) {
        // SAFETY: one CPU runs the bench.
        let number = unsafe { &mut *number };
        *number += 1;
        become_flow(&ctx, *number as u32);
    }
    call(&ctx)
}

/// Puts the next recorded event into the ring.
#[classifier]
pub fn replay(_ctx: TcContext) -> i32 {
    let Some(number) = REPLAYED.get_ptr_mut(0) else {
        return TC_ACT_UNSPEC;
    };
    // SAFETY: one CPU runs the bench.
    let number = unsafe { &mut *number };
    let Some(recorded) = RECORDED.get_ptr((*number % RECORDS as u64) as u32) else {
        return TC_ACT_UNSPEC;
    };
    *number += 1;
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(Counter::EventsLost);
        return TC_ACT_UNSPEC;
    };
    let now = now_ns();
    // SAFETY: the map's value is an event, and stays where it is.
    let recorded = unsafe { &*recorded };
    let ago = |ns| if ns == 0 { 0 } else { now - ns };
    entry.write(Event {
        at_ns: now,
        syn_ns: ago(recorded.syn_ns),
        syn_ack_ns: ago(recorded.syn_ack_ns),
        established_ns: ago(recorded.established_ns),
        ..*recorded
    });
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    count(Counter::EventsSubmitted);
    TC_ACT_UNSPEC
}

/// Goes through the IPv4 table in use and does nothing.
#[raw_tracepoint]
pub fn walk(_ctx: RawTracePointContext) -> i32 {
    match FLOWS_V4.get(CURRENT) {
        Some(table) => each(ptr::from_ref(table).cast(), pass_by),
        None => -1,
    }
}

/// Goes through the IPv4 table in use and takes out what was last seen at 0.
#[raw_tracepoint]
pub fn walk_and_take(_ctx: RawTracePointContext) -> i32 {
    match FLOWS_V4.get(CURRENT) {
        Some(table) => each(ptr::from_ref(table).cast(), take_old),
        None => -1,
    }
}

/// Empties the IPv4 table in use.
#[raw_tracepoint]
pub fn clear_flows(_ctx: RawTracePointContext) -> i32 {
    match FLOWS_V4.get(CURRENT) {
        Some(table) => each(ptr::from_ref(table).cast(), take),
        None => -1,
    }
}

/// Empties the floor's table.
#[raw_tracepoint]
pub fn clear_floor(_ctx: RawTracePointContext) -> i32 {
    each(ptr::from_ref(&FLOOR).cast(), take)
}

/// `struct bpf_iter__bpf_map_elem` (kernel/bpf/map_iter.c): what an iterator over a map is called with.
#[repr(C)]
pub struct Element {
    /// Its first member is the file to write to (`struct bpf_iter_meta`).
    meta: *const *mut seq_file,
    map: *const c_void,
    key: *const FlowKey<4>,
    flow: *const Flow,
}

/// Writes each entry of a table to the iterator's file, and is called once more at the end, without one.
///
/// # Safety
///
/// Only the kernel calls this, with a valid element.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub unsafe extern "C" fn dump(element: *const Element) -> i32 {
    // SAFETY: the kernel passes a valid context.
    let Element { meta, key, flow, .. } = unsafe { ptr::read(element) };
    if key.is_null() || flow.is_null() {
        return 0;
    }
    // SAFETY: the iterator's file lives as long as the iterator.
    let file = unsafe { *meta };
    // What does not fit any more is rolled back and asked for again (kernel/bpf/bpf_iter.c, bpf_seq_read).
    // SAFETY: the kernel passes a key of this map.
    let _full = unsafe { bpf_seq_write(file, key.cast(), size_of::<FlowKey<4>>() as u32) };
    // SAFETY: as above, its value.
    let _full = unsafe { bpf_seq_write(file, flow.cast(), size_of::<Flow>() as u32) };
    0
}

type Callback = unsafe extern "C" fn(*mut c_void, *const FlowKey<4>, *const Flow, *mut u64) -> i64;

#[inline(always)]
fn each(table: *const c_void, callback: Callback) -> i32 {
    let mut unused = 0_u64;
    // SAFETY: the pointer is a map's, and the callback has the signature that the kernel calls.
    let visited = unsafe {
        bpf_for_each_map_elem(table.cast_mut(), callback as *mut c_void, ptr::from_mut(&mut unused).cast(), 0)
    };
    if visited < 0 { visited as i32 } else { 0 }
}

unsafe extern "C" fn pass_by(_table: *mut c_void, _key: *const FlowKey<4>, _flow: *const Flow, _: *mut u64) -> i64 {
    0
}

unsafe extern "C" fn take_old(table: *mut c_void, key: *const FlowKey<4>, flow: *const Flow, _: *mut u64) -> i64 {
    // SAFETY: the kernel passes this entry's value, valid during the call.
    if unsafe { (*flow).last_seen_jiffies } == 0 {
        // SAFETY: deleting the visited entry of a hash table is what the kernel allows in this callback.
        let _gone = unsafe { bpf_map_delete_elem(table, key.cast()) };
    }
    0
}

unsafe extern "C" fn take(table: *mut c_void, key: *const FlowKey<4>, _flow: *const Flow, _: *mut u64) -> i64 {
    // SAFETY: as above.
    let _gone = unsafe { bpf_map_delete_elem(table, key.cast()) };
    0
}

/// The key of an Ethernet frame with IPv4 and TCP without options; what a bench sends is nothing else.
#[inline(always)]
fn parse(ctx: &TcContext) -> Option<FlowKey<4>> {
    let start = ctx.data();
    if start + TCP_END > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame holds these bytes: that was just checked.
    let ethertype = unsafe { ptr::read_unaligned((start + 12) as *const [u8; 2]) };
    // SAFETY: as above.
    let protocol = unsafe { ptr::read_unaligned((start + 23) as *const u8) };
    if ethertype != [8, 0] || protocol != 6 {
        return None;
    }
    // SAFETY: as above.
    let [a0, a1, a2, a3, b0, b1, b2, b3] = unsafe { ptr::read_unaligned((start + SOURCE) as *const [u8; 8]) };
    // SAFETY: as above.
    let [p0, p1, q0, q1] = unsafe { ptr::read_unaligned((start + PORTS) as *const [u8; 4]) };
    Some(FlowKey {
        address_a: [a0, a1, a2, a3],
        address_b: [b0, b1, b2, b3],
        port_a: [p0, p1],
        port_b: [q0, q1],
        protocol,
        reserved: [0; 3],
    })
}

/// Gives the packet the source address 10.x.y.z of this flow.
#[inline(always)]
fn become_flow(ctx: &TcContext, number: u32) {
    let start = ctx.data();
    if start + TCP_END > ctx.data_end() {
        return;
    }
    let address = (0x0a00_0000 | (number & 0x00ff_ffff)).to_be();
    // SAFETY: the frame holds these bytes: that was just checked.
    unsafe { ptr::write_unaligned((start + SOURCE) as *mut u32, address) };
}

#[inline(always)]
fn call(ctx: &TcContext) -> i32 {
    // SAFETY: nothing is left to do, or to drop, when the other program takes over.
    unsafe { TARGET.tail_call(ctx, 0) };
    TC_ACT_UNSPEC
}

#[inline(always)]
fn bare_record() {
    if let Some(entry) = EVENTS.reserve(0) {
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        count(Counter::EventsLost);
    }
}

#[inline(always)]
fn told(at_ns: u64) -> i32 {
    if let Some(flow) = new_flow() {
        let key = FlowKey {
            address_a: [10, 0, 0, 1],
            address_b: [10, 0, 0, 2],
            port_a: [1, 2],
            port_b: [0, 80],
            protocol: 6,
            reserved: [0; 3],
        };
        let note = Note { kind: EventKind::Opened, verdict: Verdict::Forwarded, reason: Reason::None, at_ns };
        report::event(&key, flow, &note);
    }
    TC_ACT_UNSPEC
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper takes no arguments and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}
