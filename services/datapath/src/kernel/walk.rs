//! Going through whole tables: inside the kernel where it can (5.13), else by batches of keys read here.

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::ProgramError;
use synscope_abi::batch::{BATCH_KEYS, Batch, TASK_EXPIRE, TASK_MOVE};
use synscope_abi::flow::{Flow, FlowKey, Pending, PendingKey};
use synscope_abi::settings::{RETIRING, TABLE_SLOTS};

use crate::batch;

use super::{FLOWS_V4, FLOWS_V6, Kernel, KernelError};

/// Sweeps, inside the kernel.
const SWEEPS: [&str; 2] = ["sweep_v4", "sweep_v6"];
/// What moves entries to another table, inside the kernel.
const RETIRES: [&str; 2] = ["retire_v4", "retire_v6"];
/// What does the work of both on keys it is given.
const BATCHES: [&str; 4] = ["batch_v4", "batch_v6", "batch_pending_v4", "batch_pending_v6"];

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
                        "sweeping and resizing tables takes a system call per entry: the kernel refused {name} \
                         ({io_error}), it can walk tables by itself from 5.13 on"
                    ));
                    return self.load_batches();
                }
                Err(source) => return Err(KernelError::Program { name, source }),
            }
        }
        Ok(())
    }

    fn load_batches(&mut self) -> Result<(), KernelError> {
        for name in BATCHES {
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
        see: impl FnMut(&FlowKey<N>, &Flow),
    ) -> Result<(), KernelError>
    where
        FlowKey<N>: Pod,
    {
        batch::each(&self.table_info(name, slot)?, see).map_err(|source| KernelError::Read { name, source })
    }

    pub(super) fn sweep_tables(&self) -> Result<(), KernelError> {
        if self.walks_inside {
            return SWEEPS.into_iter().try_for_each(|name| self.run(name));
        }
        for slot in 0..TABLE_SLOTS {
            self.by_batches("BATCH_V4", "batch_v4", TASK_EXPIRE, self.table::<4>(FLOWS_V4, slot)?.keys())?;
            self.by_batches("BATCH_V6", "batch_v6", TASK_EXPIRE, self.table::<16>(FLOWS_V6, slot)?.keys())?;
        }
        let pending = self.pending::<4>("PENDING_V4")?;
        self.by_batches("BATCH_PENDING_V4", "batch_pending_v4", TASK_EXPIRE, pending.keys())?;
        let pending = self.pending::<16>("PENDING_V6")?;
        self.by_batches("BATCH_PENDING_V6", "batch_pending_v6", TASK_EXPIRE, pending.keys())
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
        let (map, program) = if N == 4 { ("BATCH_V4", "batch_v4") } else { ("BATCH_V6", "batch_v6") };
        RETIRING
            .into_iter()
            .try_for_each(|slot| self.by_batches(map, program, TASK_MOVE, self.table::<N>(name, slot)?.keys()))
    }

    /// Hands keys to a program, [`BATCH_KEYS`] at a time. The program looks each one up and decides.
    fn by_batches<K: Pod>(
        &self,
        map: &'static str,
        program: &'static str,
        task: u32,
        keys: impl Iterator<Item = Result<K, MapError>>,
    ) -> Result<(), KernelError> {
        let wrong = |name: &'static str| move |source| KernelError::Map { name, source };
        let mut place = self.again::<Batch<K>>(map)?;
        let mut hand_over = |named: &[K]| {
            let Some(batch) = Batch::of(task, named) else { return Ok(()) };
            place.set(0, batch, 0).map_err(wrong(map))?;
            self.run(program)
        };
        let mut named = Vec::with_capacity(BATCH_KEYS);
        // The key that the walk stands on stays in the table until the walk is past it, else the kernel begins anew.
        let mut stands_on = None;
        for key in keys {
            named.extend(stands_on.replace(key.map_err(wrong("FLOWS"))?));
            if named.len() == BATCH_KEYS {
                hand_over(&named)?;
                named.clear();
            }
        }
        named.extend(stands_on);
        hand_over(&named)
    }

    /// A second handle on an array: this one can be written through a shared reference to us.
    fn again<T: Pod>(&self, name: &'static str) -> Result<Array<MapData, T>, KernelError> {
        let wrong = |source| KernelError::Map { name, source };
        let Some(Map::Array(array)) = self.ebpf.map(name) else { return Err(KernelError::Missing(name)) };
        let handle = array.info().and_then(|info| MapData::from_id(info.id())).map_err(wrong)?;
        Array::try_from(Map::Array(handle)).map_err(wrong)
    }

    fn pending<const N: usize>(
        &self,
        name: &'static str,
    ) -> Result<HashMap<&MapData, PendingKey<N>, Pending>, KernelError>
    where
        PendingKey<N>: Pod,
    {
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        HashMap::try_from(map).map_err(|source| KernelError::Map { name, source })
    }
}
