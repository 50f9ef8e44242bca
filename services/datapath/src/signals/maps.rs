//! How full every BPF map of fixed capacity on the host is.
//!
//! Cost: the kernel's batch lookup, 0.3 µs per entry, at most [`BUDGET`] per reading; a map that is not counted through
//! goes on with the next reading. Unit: entries. Kernels: 5.6. Not observed: maps cannot be listed (no `CAP_SYS_ADMIN`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::maps::{MapError, MapInfo, MapType, loaded_maps};
use synscope_bus::message::signal::MapFill;

/// Time for counting in one reading.
const BUDGET: Duration = Duration::from_millis(20);
/// A count older than this is made anew.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Maps that are told at most.
const MAPS_MAX: usize = 4096;
/// Entries in one batch.
const BATCH: u32 = 2048;
/// The kernel keeps 15 characters of a map's name.
const KERNEL_NAME: usize = 15;
/// Where Cilium, `tc` and others pin; their files' names are whole.
const BPFFS: &str = "/sys/fs/bpf";
/// Folders within folders that are looked through, such as `tc/globals`.
const PIN_DEPTH: u32 = 2;

/// One map that is counted.
#[derive(Debug, Default)]
struct Count {
    live: u64,
    counted: Option<Instant>,
    /// Where the walk goes on, and what it counted so far.
    walk: Option<(u32, u64)>,
}

/// What is known of the maps so far.
#[derive(Debug, Default)]
pub struct Maps {
    counts: BTreeMap<u32, Count>,
    pins: BTreeMap<u32, String>,
    pins_read: Option<Instant>,
}

impl Maps {
    /// All maps of fixed capacity; `own` are told as they are.
    pub fn sample(&mut self, own: Vec<MapFill>) -> Result<Vec<MapFill>, MapError> {
        let start = Instant::now();
        if self.pins_read.is_none_or(|read| start.duration_since(read) >= COUNT_EVERY) {
            self.pins = pinned();
            self.pins_read = Some(start);
        }
        let mut fills = own;
        let mut seen = BTreeMap::new();
        for info in loaded_maps().take(MAPS_MAX) {
            // A map may go while they are listed.
            let Ok(info) = info else { continue };
            let Some(kind) = kind(&info) else { continue };
            if fills.iter().any(|fill| fill.id == info.id()) {
                continue;
            }
            let mut count = self.counts.remove(&info.id()).unwrap_or_default();
            if start.elapsed() < BUDGET && count.is_due(start) {
                count.go_on(&info, start + BUDGET);
            }
            if count.counted.is_some() {
                fills.push(self.fill(&info, kind, &count, start));
            }
            seen.insert(info.id(), count);
        }
        self.counts = seen;
        Ok(fills)
    }

    fn fill(&self, info: &MapInfo, kind: &str, count: &Count, now: Instant) -> MapFill {
        let kernel_name = info.name_as_str().unwrap_or_default();
        // A pin's name is whole; it counts only if the kernel's is its beginning.
        let pin = self.pins.get(&info.id()).filter(|pin| pin.as_bytes().starts_with(kernel_name.as_bytes()));
        let name = pin.map_or(kernel_name, String::as_str);
        let stale = count.counted.is_none_or(|counted| now.duration_since(counted) > 2 * COUNT_EVERY);
        MapFill {
            id: info.id(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            owner: owner(name).map(str::to_owned),
            live: count.live,
            max: info.max_entries().into(),
            estimate: stale,
        }
    }
}

impl Count {
    fn is_due(&self, now: Instant) -> bool {
        self.walk.is_some() || self.counted.is_none_or(|counted| now.duration_since(counted) >= COUNT_EVERY)
    }

    /// Counts on until the map or the time ends.
    fn go_on(&mut self, info: &MapInfo, until: Instant) {
        let Ok(fd) = info.fd() else { return };
        let mut batch = Batch::new(info);
        let (mut position, mut so_far) = self.walk.map_or((None, 0), |(position, so_far)| (Some(position), so_far));
        loop {
            match batch.next(fd.as_fd(), position) {
                Ok((count, next)) => {
                    so_far += u64::from(count);
                    let Some(next) = next else {
                        *self = Self { live: so_far, counted: Some(Instant::now()), walk: None };
                        return;
                    };
                    position = Some(next);
                    if Instant::now() >= until {
                        self.walk = Some((next, so_far));
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(map = info.id(), %error, "cannot be counted");
                    self.walk = None;
                    return;
                }
            }
        }
    }
}

/// The kernel's name of a kind that can fill up and be counted.
fn kind(info: &MapInfo) -> Option<&'static str> {
    Some(match info.map_type().ok()? {
        MapType::Hash => "hash",
        MapType::LruHash => "lru_hash",
        MapType::PerCpuHash => "percpu_hash",
        MapType::LruPerCpuHash => "lru_percpu_hash",
        _ => return None,
    })
}

/// Who made a map of this name.
fn owner(name: &str) -> Option<&'static str> {
    const OURS: [&str; 6] = ["FLOWS_V4", "FLOWS_V6", "PENDING_V4", "PENDING_V6", "DROPS", "COUNTS"];
    if OURS.contains(&name) {
        Some("synscope")
    } else if name.starts_with("cilium_") {
        Some("cilium")
    } else {
        None
    }
}

/// Names of pinned maps by id.
fn pinned() -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let mut folders = vec![(PathBuf::from(BPFFS), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < PIN_DEPTH {
                folders.push((entry.path(), depth + 1));
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            // A shorter name is whole in the kernel, too. Links and programs are pinned here as well, and are no maps.
            let info = (kind.is_file() && name.len() >= KERNEL_NAME).then(|| MapInfo::from_pin(entry.path()));
            if let Some(Ok(info)) = info {
                names.insert(info.id(), name);
            }
        }
    }
    names
}

/// `union bpf_attr`, the part for batches (include/uapi/linux/bpf.h).
#[repr(C)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Room for one batch.
struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    entry: (usize, usize),
    room: u32,
}

impl Batch {
    fn new(info: &MapInfo) -> Self {
        let key = usize::try_from(info.key_size()).unwrap_or(usize::MAX);
        let value = usize::try_from(info.value_size()).unwrap_or(usize::MAX);
        let per_cpu = matches!(info.map_type(), Ok(MapType::PerCpuHash | MapType::LruPerCpuHash));
        let value = if per_cpu { value.next_multiple_of(8) * aya::util::nr_cpus().unwrap_or(1) } else { value };
        let mut batch = Self { keys: Vec::new(), values: Vec::new(), entry: (key, value), room: 0 };
        batch.make_room(BATCH);
        batch
    }

    fn make_room(&mut self, room: u32) {
        let entries = usize::try_from(room).unwrap_or(usize::MAX);
        self.keys.resize(self.entry.0.saturating_mul(entries), 0);
        self.values.resize(self.entry.1.saturating_mul(entries), 0);
        self.room = room;
    }

    /// Entries in the next batch, and where the one after it begins; none when there is none.
    fn next(&mut self, map: BorrowedFd<'_>, position: Option<u32>) -> io::Result<(u32, Option<u32>)> {
        const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
        loop {
            let (from, mut to) = (position.unwrap_or(0), 0_u32);
            let mut attributes = BatchAttributes {
                in_batch: position.map_or(0, |_| (&raw const from).addr() as u64),
                out_batch: (&raw mut to).addr() as u64,
                keys: self.keys.as_mut_ptr().addr() as u64,
                values: self.values.as_mut_ptr().addr() as u64,
                count: self.room,
                map_fd: map.as_raw_fd().cast_unsigned(),
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the attributes point to buffers of the size that `count` entries need, and outlive the call.
            let answer = unsafe {
                libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attributes, size_of::<BatchAttributes>())
            };
            if answer == 0 {
                return Ok((attributes.count, Some(to)));
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                // The last batch.
                Some(libc::ENOENT) => return Ok((attributes.count, None)),
                // One bucket alone has more entries than there was room for.
                Some(libc::ENOSPC) if self.room < 1 << 20 => self.make_room(self.room * 4),
                _ => return Err(error),
            }
        }
    }
}
