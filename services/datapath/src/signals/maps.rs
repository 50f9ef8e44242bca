//! How full every BPF map of fixed capacity on the host is.
//!
//! Reads: all maps by id, and names of pins in `/sys/fs/bpf`. Cost: at most
//! [`BUDGET`] per reading, and what one batch takes beyond it. Unit: entries, of ring buffers bytes; what was counted over
//! several readings, or long ago, is an estimate. Kernels: 5.6 (batches). Not observed: maps cannot be listed (no
//! `CAP_SYS_ADMIN`); a map that cannot be counted is left out, and said with the reason.

mod keys;
mod kinds;
mod names;
mod ring;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{MapError, MapInfo, loaded_maps};
use aya::util::nr_cpus;
use synscope_bus::message::signal::MapFill;
use synscope_bus::reasons::reasons;

use crate::batch::{Batch, Position};
use kinds::{Counting, Kind};

/// Time for counting in one reading.
const BUDGET: Duration = Duration::from_millis(20);
/// A count older than this is made anew.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Maps that are told at most.
const MAPS_MAX: usize = 4096;
/// Maps left out that are said by name.
const LISTED: usize = 5;
/// The kernel's own number for what a kind of map does not offer (`include/linux/errno.h`).
const ENOTSUPP: i32 = 524;
/// Where Cilium, `tc` and others pin.
const BPFFS: &str = "/sys/fs/bpf";

/// Why fills are not observed.
#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    /// The list of maps.
    #[error("BPF maps cannot be listed")]
    List(#[source] MapError),
    /// The size of what the kernel writes for maps per CPU is not known.
    #[error("possible CPUs: {what}")]
    Cpus {
        /// What was read.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A count that was brought to its end.
#[derive(Debug, Clone, Copy)]
struct Counted {
    live: u64,
    at: Instant,
    /// In one reading, so that hardly an entry came or went meanwhile.
    at_once: bool,
}

/// One map that is counted.
#[derive(Debug, Default)]
struct Count {
    latest: Option<Counted>,
    /// When the latest walk ended, also without success.
    ended: Option<Instant>,
    /// Where the walk goes on, and what it counted so far.
    walk: Option<(Position, u64)>,
    /// Why the latest walk had no success.
    failed: Option<String>,
}

/// What is known of the maps so far.
#[derive(Debug, Default)]
pub struct Maps {
    counts: BTreeMap<u32, Count>,
    pins: BTreeMap<u32, String>,
    pins_read: Option<Instant>,
    /// The map at which the latest reading's time ended.
    last: u32,
    /// Maps beyond [`MAPS_MAX`].
    beyond: usize,
    left_out: Option<String>,
}

impl Maps {
    /// All maps of fixed capacity; `own` are told as they are.
    pub fn sample(&mut self, own: Vec<MapFill>) -> Result<Vec<MapFill>, MapsError> {
        let start = Instant::now();
        let cpus = nr_cpus().map_err(|(what, source)| MapsError::Cpus { what, source })?;
        if self.pins_read.is_none_or(|read| start.duration_since(read) >= COUNT_EVERY) {
            self.pins = names::pinned(Path::new(BPFFS));
            self.pins_read = Some(start);
        }
        let mut infos = self.list(&own)?;
        self.count(&mut infos, cpus, start);
        self.left_out = self.say_left_out(&infos);

        let mut fills = own;
        fills.extend(infos.iter().filter_map(|(info, kind)| self.fill(info, kind.name, start)));
        Ok(fills)
    }

    /// Which maps the latest sample does not tell of because they cannot be counted, and why.
    pub fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    fn say_left_out(&self, infos: &[(MapInfo, Kind)]) -> Option<String> {
        let why = |(info, kind): &(MapInfo, Kind)| {
            let why = self.counts.get(&info.id())?.failed.as_deref()?;
            Some(format!("{} {} (id {}): {why}", kind.name, names::name(info, &self.pins), info.id()))
        };
        let beyond = (self.beyond > 0).then(|| format!("{} beyond the first {MAPS_MAX}", self.beyond));
        let said: Vec<_> = infos.iter().filter_map(why).chain(beyond).collect();
        match said.len() {
            0 => None,
            more @ LISTED.. => Some(format!("{more} BPF maps, first {}", said.get(..LISTED)?.join("; "))),
            _ => Some(said.join("; ")),
        }
    }

    /// The maps that can be counted, in the order of their ids; the kernel lists them so.
    fn list(&mut self, own: &[MapFill]) -> Result<Vec<(MapInfo, Kind)>, MapsError> {
        let mut infos = Vec::new();
        self.beyond = 0;
        for info in loaded_maps() {
            let info = match info {
                Ok(info) => info,
                // A map may go while they are listed.
                Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(MapsError::List(error)),
            };
            let Some(kind) = kinds::of(&info) else { continue };
            if own.iter().any(|fill| fill.id == info.id()) {
                continue;
            }
            if infos.len() < MAPS_MAX {
                infos.push((info, kind));
            } else {
                self.beyond += 1;
            }
        }
        let known: BTreeSet<u32> = infos.iter().map(|(info, _)| info.id()).collect();
        self.counts.retain(|id, _| known.contains(id));
        Ok(infos)
    }

    /// Counts as long as there is time, beginning behind the map at which it ended before: a large one holds up no
    /// other.
    fn count(&mut self, infos: &mut [(MapInfo, Kind)], cpus: usize, start: Instant) {
        let behind = infos.partition_point(|(info, _)| info.id() <= self.last);
        let (before, after) = infos.split_at(behind);
        for (info, kind) in after.iter().chain(before) {
            if start.elapsed() >= BUDGET {
                return;
            }
            let count = self.counts.entry(info.id()).or_default();
            if count.is_due(start) {
                self.last = info.id();
                count.go_on(info, kind.counting, cpus, start + BUDGET);
            }
        }
    }

    fn fill(&self, info: &MapInfo, kind: &str, now: Instant) -> Option<MapFill> {
        let counted = self.counts.get(&info.id())?.latest?;
        let name = names::name(info, &self.pins);
        Some(MapFill {
            id: info.id(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            owner: names::owner(name, info).map(str::to_owned),
            live: counted.live,
            max: info.max_entries().into(),
            estimate: !counted.at_once || now.saturating_duration_since(counted.at) > 2 * COUNT_EVERY,
        })
    }
}

impl Count {
    fn is_due(&self, now: Instant) -> bool {
        let rested = self.ended.is_none_or(|ended| now.saturating_duration_since(ended) >= COUNT_EVERY);
        self.walk.is_some() || rested
    }

    /// Counts on until the map or the time ends.
    fn go_on(&mut self, info: &MapInfo, counting: Counting, cpus: usize, until: Instant) {
        let begun_before = self.walk.is_some();
        match self.count(info, counting, cpus, until) {
            Ok(None) => return,
            Ok(Some(live)) => {
                let max = u64::from(info.max_entries());
                let at_once = !begun_before && live <= max;
                self.latest = Some(Counted { live: live.min(max), at: Instant::now(), at_once });
                self.failed = None;
            }
            // What was counted long ago says nothing of now.
            Err(why) => *self = Self { failed: Some(why), ..Self::default() },
        }
        self.ended = Some(Instant::now());
    }

    /// All entries, or none if the time ended before.
    fn count(
        &mut self,
        info: &MapInfo,
        counting: Counting,
        cpus: usize,
        until: Instant,
    ) -> Result<Option<u64>, String> {
        let said = |error: io::Error| error.to_string();
        let map = info.fd().map_err(|error| reasons(&error))?;
        let mut walking = match counting {
            Counting::Batches => Walking::Batches(Batch::new(info, cpus).map_err(said)?),
            Counting::Keys => Walking::keys(info)?,
            Counting::Positions => return ring::used(map.as_fd()).map(Some).map_err(said),
            Counting::Impossible(why) => return Err(why.to_owned()),
        };
        let (mut position, mut so_far) =
            self.walk.take().map_or((None, 0), |(position, so_far)| (Some(position), so_far));
        loop {
            let (count, next) = match walking.next(map.as_fd(), position.as_ref()) {
                // Tries learned it later than hashes.
                Err(error) if error.raw_os_error() == Some(ENOTSUPP) => {
                    walking = Walking::keys(info)?;
                    continue;
                }
                stepped => stepped.map_err(said)?,
            };
            so_far += u64::from(count);
            let Some(next) = next else { return Ok(Some(so_far)) };
            // A trie is read from its beginning again when the key to go on at was removed.
            if so_far > u64::from(info.max_entries()).saturating_mul(2) {
                return Err("it changes faster than it can be read".to_owned());
            }
            if Instant::now() >= until {
                self.walk = Some((next, so_far));
                return Ok(None);
            }
            position = Some(next);
        }
    }
}

/// What a count goes by.
enum Walking {
    Batches(Batch),
    Keys {
        /// Bytes of one.
        size: usize,
    },
}

impl Walking {
    fn keys(info: &MapInfo) -> Result<Self, String> {
        Ok(Self::Keys { size: usize::try_from(info.key_size()).map_err(|error| error.to_string())? })
    }

    fn next(&mut self, map: BorrowedFd<'_>, position: Option<&Position>) -> io::Result<(u32, Option<Position>)> {
        match self {
            Self::Batches(batch) => batch.next(map, position),
            Self::Keys { size } => keys::next(map, *size, position),
        }
    }
}
