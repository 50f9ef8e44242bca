//! The programs' counters.

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuArray};
use synscope_abi::counter::Counter;

use super::KernelError;

const COUNTS: &str = "COUNTS";

/// A handle on the counters; each thread may have one of its own.
#[derive(Debug)]
pub struct Counts(Map);

impl Counts {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, KernelError> {
        let Some(Map::PerCpuArray(map)) = ebpf.map(COUNTS) else { return Err(KernelError::Missing(COUNTS)) };
        let handle = map.info().and_then(|info| MapData::from_id(info.id())).map_err(wrong)?;
        Ok(Self(Map::PerCpuArray(handle)))
    }

    /// Sum over all CPUs of a counter.
    pub fn get(&self, counter: Counter) -> Result<u64, KernelError> {
        let counts = PerCpuArray::<_, u64>::try_from(&self.0).map_err(wrong)?;
        Ok(counts.get(&(counter as u32), 0).map_err(wrong)?.iter().sum())
    }
}

const fn wrong(source: MapError) -> KernelError {
    KernelError::Map { name: COUNTS, source }
}
