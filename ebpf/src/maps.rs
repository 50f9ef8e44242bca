//! The maps. Names are what the loader, `bpftool` and pins show.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use synscope_abi::batch::Batch;
use synscope_abi::counter::{COUNTERS, Counter};
use synscope_abi::event::Event;
use synscope_abi::flow::{Flow, FlowKey, Pending, PendingKey};
use synscope_abi::settings::{Clocks, Settings, TABLE_SLOTS};
use synscope_abi::{CONNTRACK_ENTRIES_DEFAULT, EVENT_RING_BYTES, PENDING_ENTRIES};

const BPF_F_NO_PREALLOC: usize = 1;

/// A conntrack table.
pub type Table<const N: usize> = HashMap<FlowKey<N>, Flow, { CONNTRACK_ENTRIES_DEFAULT as usize }, BPF_F_NO_PREALLOC>;
/// The table in use at [`CURRENT`], behind one indirection so that user space can put another in its place; the one it
/// replaces stays at [`RETIRING`] until its entries have moved.
pub type TableSlot<const N: usize> = ArrayOfMaps<Table<N>, { TABLE_SLOTS as usize }>;
/// Refused SYNs.
pub type PendingTable<const N: usize> = LruHashMap<PendingKey<N>, Pending, PENDING_ENTRIES>;

#[btf_map]
pub static FLOWS_V4: TableSlot<4> = TableSlot::new();
#[btf_map]
pub static FLOWS_V6: TableSlot<16> = TableSlot::new();
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

/// Keys for programs that work on a batch.
#[btf_map]
pub static BATCH_V4: Array<Batch<FlowKey<4>>, 1> = Array::new();
#[btf_map]
pub static BATCH_V6: Array<Batch<FlowKey<16>>, 1> = Array::new();
#[btf_map]
pub static BATCH_PENDING_V4: Array<Batch<PendingKey<4>>, 1> = Array::new();
#[btf_map]
pub static BATCH_PENDING_V6: Array<Batch<PendingKey<16>>, 1> = Array::new();

/// Where a new entry is put together: a Flow and its keys do not fit the stack beside the rest.
#[btf_map]
static NEW_FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// Where a sweep puts a flow together; its own, because a packet may interrupt a sweep.
#[btf_map]
static SWEPT_FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// This CPU's place for a new entry.
#[inline(always)]
pub fn new_flow() -> Option<&'static mut Flow> {
    // SAFETY: the slot belongs to this CPU, and TC programs run with softirqs off: no other one comes between.
    NEW_FLOW.get_ptr_mut(0).map(|flow| unsafe { &mut *flow })
}

/// This CPU's place for a flow that a sweep tells of.
#[inline(always)]
pub fn swept_flow() -> Option<&'static mut Flow> {
    // SAFETY: the slot belongs to this CPU, and sweeps run one at a time.
    SWEPT_FLOW.get_ptr_mut(0).map(|flow| unsafe { &mut *flow })
}

/// Raises a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot belongs to this CPU, and programs that count on it do not preempt each other.
        unsafe { *value += 1 };
    }
}
