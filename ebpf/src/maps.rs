//! The maps. Names are what the loader, `bpftool` and pins show.

use core::arch::asm;
use core::ptr;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_HASH;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use synscope_abi::batch::Batch;
use synscope_abi::counter::{COUNTERS, Counter};
use synscope_abi::event::Event;
use synscope_abi::flow::{Flow, FlowKey, Pending, PendingKey};
use synscope_abi::settings::{Clocks, Settings, TABLE_SLOTS};
use synscope_abi::{CONNTRACK_ENTRIES_DEFAULT, EVENT_RING_BYTES, NO_PREALLOC, PENDING_ENTRIES};

const BPF_F_NO_PREALLOC: usize = NO_PREALLOC as usize;

/// A conntrack table.
pub type Table<const N: usize> = HashMap<FlowKey<N>, Flow, { CONNTRACK_ENTRIES_DEFAULT as usize }, BPF_F_NO_PREALLOC>;
/// What the outer map knows of a table: sizes, not types.
///
/// The tables that user space makes have no type information, and to kernels 5.15 to 6.1 a table with it is another
/// kind of map than one without (kernel/bpf/map_in_map.c compares `timer_off`, which is then another errno).
#[repr(C)]
#[allow(dead_code, reason = "the loader reads the types of the fields")]
pub struct Shape<const KEY: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_HASH as usize],
    key_size: *const [i32; KEY],
    value_size: *const [i32; size_of::<Flow>()],
    max_entries: *const [i32; CONNTRACK_ENTRIES_DEFAULT as usize],
    map_flags: *const [i32; BPF_F_NO_PREALLOC],
}
/// Tables with keys of this many bytes.
type Slots<const KEY: usize> = ArrayOfMaps<Shape<KEY>, { TABLE_SLOTS as usize }>;

/// The table in use at [`CURRENT`], behind one indirection so that user space can put another in its place; the one it
/// replaces stays in a slot of [`RETIRING`] until its entries have moved.
///
/// [`CURRENT`]: synscope_abi::settings::CURRENT
/// [`RETIRING`]: synscope_abi::settings::RETIRING
pub trait TableSlot<const N: usize> {
    /// The table in this slot.
    fn get(&self, slot: u32) -> Option<&Table<N>>;
}

impl TableSlot<4> for Slots<{ size_of::<FlowKey<4>>() }> {
    #[inline(always)]
    fn get(&self, slot: u32) -> Option<&Table<4>> {
        // SAFETY: a map is its address and nothing else here, and these are the sizes of its keys and values.
        ArrayOfMaps::get(self, slot).map(|table| unsafe { &*ptr::from_ref(table).cast() })
    }
}

impl TableSlot<16> for Slots<{ size_of::<FlowKey<16>>() }> {
    #[inline(always)]
    fn get(&self, slot: u32) -> Option<&Table<16>> {
        // SAFETY: as above.
        ArrayOfMaps::get(self, slot).map(|table| unsafe { &*ptr::from_ref(table).cast() })
    }
}

/// SYNs that were given no entry.
pub type PendingTable<const N: usize> = HashMap<PendingKey<N>, Pending, PENDING_ENTRIES, BPF_F_NO_PREALLOC>;

#[btf_map]
pub static FLOWS_V4: Slots<{ size_of::<FlowKey<4>>() }> = Slots::new();
#[btf_map]
pub static FLOWS_V6: Slots<{ size_of::<FlowKey<16>>() }> = Slots::new();
#[btf_map]
pub static PENDING_V4: PendingTable<4> = PendingTable::new();
#[btf_map]
pub static PENDING_V6: PendingTable<16> = PendingTable::new();
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
pub static CLOCKS: Array<Clocks, 1> = Array::new();
#[btf_map]
pub static COUNTS: PerCpuArray<u64, COUNTERS> = PerCpuArray::new();
#[btf_map]
pub static EVENTS: RingBuf<Event, EVENT_RING_BYTES> = RingBuf::new();

/// How many entries the program that empties retiring tables may still move.
#[btf_map]
pub static MOVES_LEFT: Array<u64, 1> = Array::new();

/// Keys for programs that work on a batch.
#[btf_map]
pub static BATCH_V4: Array<Batch<FlowKey<4>>, 1> = Array::new();
#[btf_map]
pub static BATCH_V6: Array<Batch<FlowKey<16>>, 1> = Array::new();
#[btf_map]
pub static BATCH_PENDING_V4: Array<Batch<PendingKey<4>>, 1> = Array::new();
#[btf_map]
pub static BATCH_PENDING_V6: Array<Batch<PendingKey<16>>, 1> = Array::new();

// What belongs to a CPU is shared by programs of two kinds. Those at a packet run with softirqs off (net/core/dev.c:
// ingress within the receive softirq, egress under rcu_read_lock_bh), so that on one CPU they come one after the other.
// Those that walk tables run in the system call that asks for them, on one CPU from beginning to end (net/bpf/test_run.c,
// bpf_prog_test_run_raw_tp: get_cpu), but an interrupt may bring a packet in between two of their instructions.

/// Where a new entry is put together: a Flow and its keys do not fit the stack beside the rest. Of the programs at a
/// packet alone.
#[btf_map]
static NEW_FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// The same for walks. One that runs keeps others from its CPU.
#[btf_map]
static SWEPT_FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// This CPU's place for a new entry.
#[inline(always)]
pub fn new_flow() -> Option<&'static mut Flow> {
    // SAFETY: the slot belongs to this CPU, and only programs at a packet use it, which come one after the other.
    NEW_FLOW.get_ptr_mut(0).map(|flow| unsafe { &mut *flow })
}

/// This CPU's place for a flow that a sweep tells of.
#[inline(always)]
pub fn swept_flow() -> Option<&'static mut Flow> {
    // SAFETY: the slot belongs to this CPU, and only walks use it, which keep others from their CPU.
    SWEPT_FLOW.get_ptr_mut(0).map(|flow| unsafe { &mut *flow })
}

/// Raises a counter of this CPU, in one instruction: a packet that came in between a walk's load and its store would be
/// forgotten (`moved`, `move_failed`, `events_submitted` and `events_lost` are counted by both).
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: the instruction changes this slot alone, which outlives the program.
        unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) value, in(reg) 1_u64, options(nostack)) };
    }
}
