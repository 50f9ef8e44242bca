//! Tables that take each other's place: made, adopted, resized while packets pass.
//!
//! A table that was replaced stands in a retiring slot until its entries have moved. What finds no room at once is moved
//! by later sweeps; what a process that died had not moved is moved by the next one.

use std::time::{Duration, Instant};

use aya::Pod;
use aya::maps::{ArrayOfMaps, MapError};
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::{CURRENT, RETIRING, TABLE_SLOTS};
use synscope_abi::{CONNTRACK_ENTRIES_MAX, NO_PREALLOC};

use super::{FLOWS_V4, FLOWS_V6, Kernel, KernelError, Table, memory};

/// Passes over retiring tables at most; one is enough unless entries come faster than they are moved.
const PASSES: u32 = 8;
/// Capacity of the empty table in a retiring slot that is free: the smallest possible.
const EMPTY: u32 = 1;

/// What a resize did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// Entries that were in the old table and are not any more.
    pub moved: usize,
    /// Entries that did not move; they are still found, and move with their own next packet or a sweep.
    pub left: usize,
    /// How long it took.
    pub took: Duration,
}

impl Kernel {
    /// Gives the IPv4 table another capacity while traffic flows: no connection is forgotten, no packet held up.
    pub fn resize_v4(&mut self, entries: u32) -> Result<Resized, KernelError> {
        self.resize::<4>(FLOWS_V4, entries)
    }

    /// The same for the IPv6 table.
    pub fn resize_v6(&mut self, entries: u32) -> Result<Resized, KernelError> {
        self.resize::<16>(FLOWS_V6, entries)
    }

    /// The new table takes the place of the old, which retires.
    fn resize<const N: usize>(&mut self, name: &'static str, entries: u32) -> Result<Resized, KernelError>
    where
        FlowKey<N>: Pod,
    {
        let start = Instant::now();
        let left = self.retire::<N>(name)?;
        let mut free = None;
        for slot in RETIRING {
            if self.length::<N>(name, [slot])? == 0 {
                free = Some(slot);
            }
        }
        let slot = free.ok_or(KernelError::Unfinished { name, left })?;
        let before = self.length::<N>(name, 0..TABLE_SLOTS)?;
        if usize::try_from(entries).is_ok_and(|room| room < before) {
            return Err(KernelError::TooSmall { name, entries, live: before });
        }
        let (new, empty) = (make_table::<N>(name, entries, before)?, make_table::<N>(name, EMPTY, 0)?);
        self.put_table(name, slot, &self.table::<N>(name, CURRENT)?)?;
        if let Err(error) = self.put_table(name, CURRENT, &new) {
            // A table must not retire into itself.
            self.put_table(name, slot, &empty)?;
            return Err(error);
        }
        // No packet puts anything more into the old table: setting a slot waits for programs that hold the table it
        // held (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
        let left = self.retire::<N>(name)?;
        Ok(Resized { moved: before.saturating_sub(left), left, took: start.elapsed() })
    }

    /// Moves what is in retiring tables into the one in use, as far as there is room, and tells how many entries are
    /// left. Tables that have become empty are given back.
    pub(super) fn retire<const N: usize>(&mut self, name: &'static str) -> Result<usize, KernelError>
    where
        FlowKey<N>: Pod,
    {
        let mut left = self.length::<N>(name, RETIRING)?;
        for _pass in 0..PASSES {
            let before = left;
            if before == 0 {
                break;
            }
            self.move_entries::<N>(name)?;
            left = self.length::<N>(name, RETIRING)?;
            if left >= before {
                break;
            }
        }
        for slot in RETIRING {
            if self.table_info(name, slot)?.max_entries() > EMPTY && self.length::<N>(name, [slot])? == 0 {
                self.put_table(name, slot, &make_table::<N>(name, EMPTY, 0)?)?;
            }
        }
        Ok(left)
    }

    /// Takes over the tables that an earlier process has pinned, wherever in a resize it ended; makes what is missing.
    pub(super) fn adopt_or_make<const N: usize>(&mut self, name: &'static str, entries: u32) -> Result<(), KernelError>
    where
        FlowKey<N>: Pod,
    {
        if self.id(name, CURRENT)?.is_none() {
            self.put_table(name, CURRENT, &make_table::<N>(name, entries, 0)?)?;
        }
        let in_use = self.table_info(name, CURRENT)?.id();
        for slot in RETIRING {
            // The table in use itself: that process had begun to replace it, and no more.
            if self.id(name, slot)?.is_none_or(|id| id == in_use) {
                self.put_table(name, slot, &make_table::<N>(name, EMPTY, 0)?)?;
            }
        }
        self.retire::<N>(name)?;
        Ok(())
    }

    /// The kernel's id of the table in a slot, if there is one.
    fn id(&self, name: &'static str, slot: u32) -> Result<Option<u32>, KernelError> {
        match self.table_info(name, slot) {
            Ok(info) => Ok(Some(info.id())),
            Err(KernelError::Map { source: MapError::KeyNotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Entries of the tables in these slots.
    fn length<const N: usize>(
        &self,
        name: &'static str,
        slots: impl IntoIterator<Item = u32>,
    ) -> Result<usize, KernelError>
    where
        FlowKey<N>: Pod,
    {
        let mut length = 0;
        for slot in slots {
            self.each::<N>(name, slot, |_, _| length += 1)?;
        }
        Ok(length)
    }

    fn put_table<const N: usize>(&mut self, name: &'static str, slot: u32, table: &Table<N>) -> Result<(), KernelError>
    where
        FlowKey<N>: Pod,
    {
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        ArrayOfMaps::<_, Table<N>>::try_from(map).map_err(wrong)?.set(slot, table, 0).map_err(wrong)
    }
}

/// A new table, if there is memory for it when it is full. `moving` entries take memory already, which they bring along.
fn make_table<const N: usize>(name: &'static str, entries: u32, moving: usize) -> Result<Table<N>, KernelError>
where
    FlowKey<N>: Pod,
{
    if !(1..=CONNTRACK_ENTRIES_MAX).contains(&entries) {
        return Err(KernelError::Capacity { name, entries });
    }
    let more = u64::from(entries).saturating_sub(moving as u64);
    let needed = memory::of_buckets(entries) + more * memory::of_entry(size_of::<FlowKey<N>>(), size_of::<Flow>());
    if let Some(left) = memory::left().filter(|left| *left < needed) {
        return Err(KernelError::Memory { name, entries, needed_mib: needed >> 20, left_mib: left >> 20 });
    }
    Table::<N>::create(entries, NO_PREALLOC).map_err(|source| KernelError::Map { name, source })
}
