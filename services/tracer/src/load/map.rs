//! A map in the kernel, and its entries.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::LoadError;
use super::ring::Ring;
use super::sys::{Sized, create_map};
use crate::cpus;
use crate::plan::{MapKind, MapPlan, front};

/// A map in the kernel.
#[derive(Debug)]
pub(crate) struct LoadedMap {
    descriptor: OwnedFd,
    plan: MapPlan,
}

impl AsFd for LoadedMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl LoadedMap {
    pub(super) fn new(plan: MapPlan) -> Result<Self, LoadError> {
        match create_map(&plan) {
            Ok(descriptor) => Ok(Self { descriptor, plan }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(LoadError::NotPermitted(error)),
            Err(source) => Err(LoadError::Map { name: plan.name, entries: plan.entries, source }),
        }
    }

    pub(super) fn ring(&self) -> io::Result<Ring> {
        Ring::new(self.as_fd(), self.plan.entries)
    }

    fn is_per_cpu(&self) -> bool {
        matches!(self.plan.kind, MapKind::PerCpuArray | MapKind::PerCpuHash)
    }

    fn sized(&self) -> Sized<'_> {
        let value = self.plan.value as usize;
        let value = if self.is_per_cpu() { value.next_multiple_of(8) * cpus::possible() } else { value };
        Sized { map: self.as_fd(), key: self.plan.key as usize, value }
    }

    /// An entry's value.
    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = Vec::new();
        Ok(self.sized().lookup(key, &mut value)?.then_some(value))
    }

    pub(super) fn put(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.sized().update(key, value)
    }

    /// All entries, in the order of their keys' bytes.
    pub(crate) fn entries(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let keys = self.keys()?;
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            // One that went meanwhile is not missed.
            if let Some(value) = self.get(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    /// The same; what the map's front has of them are further parts of their values.
    pub(crate) fn entries_with(&self, front: &Self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        // The front first: its keys are in the map by then.
        let table = front.get(&0_u32.to_ne_bytes())?.unwrap_or_default();
        let key = self.plan.key as usize;
        let mut parts: HashMap<&[u8], Vec<u8>> = HashMap::new();
        for slot in table.chunks_exact(front::slot(self.plan.key, self.plan.value) as usize) {
            let (state, rest) = slot.split_at(front::KEY.unsigned_abs().into());
            let state = state.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            if state >= u64::from(front::TAKEN.unsigned_abs()) {
                let (key, value) = rest.split_at(key.min(rest.len()));
                parts.entry(key).or_default().extend_from_slice(value);
            }
        }
        let mut entries = self.entries()?;
        for (key, parts_of_cpus) in &mut entries {
            parts_of_cpus.extend(parts.remove(key.as_slice()).unwrap_or_default());
        }
        Ok(entries)
    }

    fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        let map = self.sized();
        let mut keys: Vec<Vec<u8>> = Vec::new();
        // Entries may come and go meanwhile: whoever goes round in circles has seen them all.
        let most = self.plan.entries as usize * 2;
        while let Some(key) = map.next_key(keys.last().map(Vec::as_slice))? {
            keys.push(key);
            if keys.len() >= most {
                break;
            }
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// Takes all entries out; an array's become zero.
    pub(crate) fn clear(&self) -> io::Result<()> {
        if matches!(self.plan.kind, MapKind::Array | MapKind::PerCpuArray) {
            return self.zero(0);
        }
        let map = self.sized();
        self.keys()?.iter().try_for_each(|key| map.delete(key))
    }

    /// Makes all values zero but for their last bytes.
    pub(crate) fn zero(&self, kept: u32) -> io::Result<()> {
        let map = self.sized();
        for (key, mut value) in self.entries()? {
            let zeroed = value.len().saturating_sub(kept as usize);
            value.iter_mut().take(zeroed).for_each(|byte| *byte = 0);
            map.update(&key, &value)?;
        }
        Ok(())
    }

    /// A value's parts: one for each CPU, or the value itself.
    pub(crate) fn per_cpu<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        let part = if self.is_per_cpu() { (self.plan.value as usize).next_multiple_of(8) } else { value.len() };
        value.chunks_exact(part.max(1))
    }
}

/// Bytes that a map takes when it is full, without what the kernel keeps beside each entry.
pub(super) fn bytes(plan: &MapPlan) -> u64 {
    let cpus =
        if matches!(plan.kind, MapKind::PerCpuArray | MapKind::PerCpuHash) { cpus::possible() as u64 } else { 1 };
    let entry = u64::from(plan.key.next_multiple_of(8)) + u64::from(plan.value.next_multiple_of(8)) * cpus;
    match plan.kind {
        // Its pages are there once; its entries are bytes.
        MapKind::RingBuffer => plan.entries.into(),
        _ => entry * u64::from(plan.entries),
    }
}
