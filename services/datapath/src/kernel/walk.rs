//! Going through whole tables: inside the kernel where it can (5.13), else by batches of keys read here.

use aya::Pod;
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::ProgramError;
use synscope_abi::batch::{BATCH_KEYS, Batch, TASK_EXPIRE, TASK_MOVE};
use synscope_abi::flow::{Flow, FlowKey, Pending, PendingKey};
use synscope_abi::settings::{RETIRING, TABLE_SLOTS};

use super::{FLOWS_V4, FLOWS_V6, Kernel, KernelError};
use crate::batch;

/// Sweeps, inside the kernel.
const SWEEPS: [&str; 2] = ["sweep_v4", "sweep_v6"];
/// What moves entries to another table, inside the kernel.
const RETIRES: [&str; 2] = ["retire_v4", "retire_v6"];
/// What does the work of both on keys it is given, and the map that they are put into.
#[derive(Clone, Copy)]
struct OnKeys {
    program: &'static str,
    map: &'static str,
}
const FLOWS: [OnKeys; 2] =
    [OnKeys { program: "batch_v4", map: "BATCH_V4" }, OnKeys { program: "batch_v6", map: "BATCH_V6" }];
const PENDING: [OnKeys; 2] = [
    OnKeys { program: "batch_pending_v4", map: "BATCH_PENDING_V4" },
    OnKeys { program: "batch_pending_v6", map: "BATCH_PENDING_V6" },
];

/// Entries that one run moves: about 20 ms, during which its CPU does nothing else but interrupts. What was moved is not
/// in the way of the next run.
const MOVES: u64 = 16_384;

impl Kernel {
    /// Loads the programs that walk; where the kernel refuses one, those that work on batches.
    pub(super) fn load_walks(&mut self) -> Result<(), KernelError> {
        for name in SWEEPS.into_iter().chain(RETIRES) {
            match self.raw(name)?.load() {
                Ok(()) => {}
                Err(ProgramError::LoadError { io_error, .. }) => {
                    self.walks_inside = false;
                    self.degradations.push(format!(
                        "sweeping and resizing tables takes two system calls per {BATCH_KEYS} entries: the kernel \
                         refused {name} ({io_error}), it can walk tables by itself from 5.13 on"
                    ));
                    return self.load_batches();
                }
                Err(source) => return Err(KernelError::Program { name, source }),
            }
        }
        Ok(())
    }

    fn load_batches(&mut self) -> Result<(), KernelError> {
        for name in FLOWS.into_iter().chain(PENDING).map(|on_keys| on_keys.program) {
            self.raw(name)?.load().map_err(|source| KernelError::Program { name, source })?;
        }
        Ok(())
    }

    /// Every IPv4 connection, in no order. One that comes or goes meanwhile may be missed, one that moves to another
    /// table also be seen twice.
    pub fn each_v4(&self, mut see: impl FnMut(&FlowKey<4>, &Flow)) -> Result<(), KernelError> {
        (0..TABLE_SLOTS).try_for_each(|slot| self.each(FLOWS_V4, slot, &mut see))
    }

    /// The same for IPv6.
    pub fn each_v6(&self, mut see: impl FnMut(&FlowKey<16>, &Flow)) -> Result<(), KernelError> {
        (0..TABLE_SLOTS).try_for_each(|slot| self.each(FLOWS_V6, slot, &mut see))
    }

    pub(super) fn each<const N: usize>(
        &self,
        name: &'static str,
        slot: u32,
        mut see: impl FnMut(&FlowKey<N>, &Flow),
    ) -> Result<(), KernelError>
    where
        FlowKey<N>: Pod,
    {
        each(name, &self.table_info(name, slot)?, |key, flow| {
            see(key, flow);
            Ok(())
        })
    }

    pub(super) fn sweep_tables(&self) -> Result<(), KernelError> {
        if self.walks_inside {
            return SWEEPS.into_iter().try_for_each(|name| self.run(name));
        }
        let ([flows_v4, flows_v6], [pending_v4, pending_v6]) = (FLOWS, PENDING);
        for slot in 0..TABLE_SLOTS {
            let (v4, v6) = (self.table_info(FLOWS_V4, slot)?, self.table_info(FLOWS_V6, slot)?);
            self.by_batches::<FlowKey<4>, Flow>(FLOWS_V4, &v4, flows_v4, (TASK_EXPIRE, slot))?;
            self.by_batches::<FlowKey<16>, Flow>(FLOWS_V6, &v6, flows_v6, (TASK_EXPIRE, slot))?;
        }
        let (v4, v6) = (self.pending_info("PENDING_V4")?, self.pending_info("PENDING_V6")?);
        self.by_batches::<PendingKey<4>, Pending>("PENDING_V4", &v4, pending_v4, (TASK_EXPIRE, 0))?;
        self.by_batches::<PendingKey<16>, Pending>("PENDING_V6", &v6, pending_v6, (TASK_EXPIRE, 0))
    }

    /// One pass over the retiring tables: their entries move into the one in use.
    pub(super) fn move_entries<const N: usize>(&self, name: &'static str) -> Result<(), KernelError>
    where
        FlowKey<N>: Pod,
    {
        let [retire_v4, retire_v6] = RETIRES;
        if self.walks_inside {
            let program = if N == 4 { retire_v4 } else { retire_v6 };
            let name = "MOVES_LEFT";
            let wrong = |source| KernelError::Map { name, source };
            let mut moves_left = self.again::<u64>(name)?;
            loop {
                moves_left.set(0, MOVES, 0).map_err(wrong)?;
                self.run(program)?;
                if moves_left.get(&0, 0).map_err(wrong)? > 0 {
                    return Ok(());
                }
            }
        }
        let [v4, v6] = FLOWS;
        RETIRING.into_iter().try_for_each(|slot| {
            let on_keys = if N == 4 { v4 } else { v6 };
            self.by_batches::<FlowKey<N>, Flow>(name, &self.table_info(name, slot)?, on_keys, (TASK_MOVE, slot))
        })
    }

    /// Hands a table's keys to a program, [`BATCH_KEYS`] at a time. The program looks each one up and decides.
    fn by_batches<K: Pod, V: Pod>(
        &self,
        name: &'static str,
        table: &MapInfo,
        OnKeys { program, map }: OnKeys,
        (task, slot): (u32, u32),
    ) -> Result<(), KernelError> {
        let mut place = self.again::<Batch<K>>(map)?;
        let mut hand_over = |named: &[K]| {
            let Some(batch) = Batch::of(task, slot, named) else { return Ok(()) };
            place.set(0, batch, 0).map_err(|source| KernelError::Map { name: map, source })?;
            self.run(program)
        };
        let mut named = Vec::with_capacity(BATCH_KEYS);
        each(name, table, |key, _value: &V| {
            named.push(*key);
            if named.len() == BATCH_KEYS {
                hand_over(&named)?;
                named.clear();
            }
            Ok(())
        })?;
        hand_over(&named)
    }

    /// A second handle on an array: this one can be written through a shared reference to us.
    fn again<T: Pod>(&self, name: &'static str) -> Result<Array<MapData, T>, KernelError> {
        let wrong = |source| KernelError::Map { name, source };
        let Some(Map::Array(array)) = self.ebpf.map(name) else { return Err(KernelError::Missing(name)) };
        let handle = array.info().and_then(|info| MapData::from_id(info.id())).map_err(wrong)?;
        Array::try_from(Map::Array(handle)).map_err(wrong)
    }

    fn pending_info(&self, name: &'static str) -> Result<MapInfo, KernelError> {
        let Some(Map::HashMap(table)) = self.ebpf.map(name) else { return Err(KernelError::Missing(name)) };
        table.info().map_err(|source| KernelError::Map { name, source })
    }
}

/// The entries of a table of this name, until `see` fails.
fn each<K: Pod, V: Pod>(
    name: &'static str,
    table: &MapInfo,
    see: impl FnMut(&K, &V) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    batch::each(table, |source| KernelError::Read { name, source }, see)
}
