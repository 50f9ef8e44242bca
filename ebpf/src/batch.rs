//! The work of the sweep and of a resize on keys that user space names: for kernels without `bpf_for_each_map_elem`.

use core::ptr;

use aya_ebpf::btf_maps::Array;
use synscope_abi::batch::{BATCH_KEYS, Batch, TASK_MOVE};
use synscope_abi::flow::{FlowKey, PendingKey};
use synscope_abi::settings::CURRENT;

use crate::maps::{PendingTable, TableSlot};
use crate::sweep::{ENOENT, Pass, visit, visit_pending};
use crate::track::from_retiring;

/// Takes out those of the named entries that have expired, or moves them out of the retiring tables. Returns 0, or a
/// negative errno when there is no such table or no settings.
#[inline(always)]
pub fn flows<const N: usize>(batch: &Array<Batch<FlowKey<N>>, 1>, slots: &impl TableSlot<N>) -> i32 {
    let (Some(batch), Some(current), Some(mut pass)) = (batch.get(0), slots.get(CURRENT), Pass::begin()) else {
        return -ENOENT;
    };
    let Some(table) = slots.get(batch.slot) else {
        return -ENOENT;
    };
    let mut at = 0;
    while at < BATCH_KEYS {
        if at as u32 >= batch.length {
            break;
        }
        let key = &batch.keys[at];
        if batch.task == TASK_MOVE {
            let _counted_where_it_fails = from_retiring(slots, current, key);
        } else if let Some(flow) = table.get_ptr_mut(key) {
            let table = ptr::from_ref(table).cast_mut().cast();
            // SAFETY: the entry was just found in the table, and stays allocated while the program runs (RCU).
            unsafe { visit::<N>(table, key, flow, &mut pass) };
        }
        at += 1;
    }
    0
}

/// Takes out those of the named refused SYNs that will not come again.
#[inline(always)]
pub fn pending<const N: usize>(batch: &Array<Batch<PendingKey<N>>, 1>, table: &PendingTable<N>) -> i32 {
    let (Some(batch), Some(mut pass)) = (batch.get(0), Pass::begin()) else {
        return -ENOENT;
    };
    let mut at = 0;
    while at < BATCH_KEYS {
        if at as u32 >= batch.length {
            break;
        }
        let key = &batch.keys[at];
        if let Some(refused) = table.get_ptr(key) {
            let table = ptr::from_ref(table).cast_mut().cast();
            // SAFETY: as above.
            unsafe { visit_pending::<N>(table, key, refused, &mut pass) };
        }
        at += 1;
    }
    0
}
