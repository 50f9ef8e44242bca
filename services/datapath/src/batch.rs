//! Reading whole maps by the kernel's batch lookup (5.6), which aya does not offer: a tenth of a call per entry.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::Pod;
use aya::maps::{MapInfo, MapType};

/// Entries in one batch, at most to begin with.
const ENTRIES: usize = 2048;
/// Bytes in one batch, at most to begin with; per-CPU values can be large.
const BYTES: usize = 1 << 20;
/// Bytes in one batch, at most: a hash bucket is read whole or not at all.
const BYTES_MAX: usize = 64 << 20;

/// `union bpf_attr`, the part for batches (`include/uapi/linux/bpf.h`).
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a walk goes on: a bucket's number in hashes, a key in tries.
pub(crate) type Position = Vec<u8>;

/// Room for one batch of one map.
pub(crate) struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    position: usize,
    key: usize,
    value: usize,
    room: usize,
}

impl Batch {
    /// `cpus` are all possible CPUs: the kernel writes a value for each of them.
    pub(crate) fn new(info: &MapInfo, cpus: usize) -> io::Result<Self> {
        let bytes = |number: u32| usize::try_from(number).map_err(|_too_large| too_large());
        let (key, value) = (bytes(info.key_size())?, bytes(info.value_size())?);
        let per_cpu = matches!(info.map_type(), Ok(MapType::PerCpuHash | MapType::LruPerCpuHash));
        let value = if per_cpu { value.next_multiple_of(8).saturating_mul(cpus) } else { value };
        let mut batch = Self { keys: Vec::new(), values: Vec::new(), position: key.max(4), key, value, room: 0 };
        let fitting = BYTES / batch.entry().max(1);
        batch.make_room(fitting.clamp(1, ENTRIES).min(bytes(info.max_entries())?.max(1)))?;
        Ok(batch)
    }

    fn entry(&self) -> usize {
        self.key.saturating_add(self.value)
    }

    fn make_room(&mut self, room: usize) -> io::Result<()> {
        if self.entry().saturating_mul(room) > BYTES_MAX {
            return Err(too_large());
        }
        self.keys.resize(self.key * room, 0);
        self.values.resize(self.value * room, 0);
        self.room = room;
        Ok(())
    }

    /// Entries in the next batch, and where the one after it begins; none when it was the last.
    pub(crate) fn next(
        &mut self,
        map: BorrowedFd<'_>,
        position: Option<&Position>,
    ) -> io::Result<(u32, Option<Position>)> {
        const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
        loop {
            let mut next = vec![0_u8; self.position];
            let mut attributes = Attributes {
                in_batch: position.map_or(0, |position| position.as_ptr().expose_provenance() as u64),
                out_batch: next.as_mut_ptr().expose_provenance() as u64,
                keys: self.keys.as_mut_ptr().expose_provenance() as u64,
                values: self.values.as_mut_ptr().expose_provenance() as u64,
                count: u32::try_from(self.room).map_err(|_too_large| too_large())?,
                map_fd: map.as_raw_fd().cast_unsigned(),
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: keys and values have room for `count` entries of this map, both positions for a bucket's number
            // and for a key, and all of them outlive the call.
            let answer = unsafe {
                libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attributes, size_of::<Attributes>())
            };
            if answer == 0 {
                return Ok((attributes.count, Some(next)));
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                // The last batch.
                Some(libc::ENOENT) => return Ok((attributes.count, None)),
                // One bucket alone has more entries than there was room for.
                Some(libc::ENOSPC) => self.make_room(self.room * 4)?,
                _ => return Err(error),
            }
        }
    }
}

/// The entries of a hash table that is not per CPU, in no order, until `see` fails. One that goes meanwhile may be missed,
/// none that stays; `see` may take out what it sees. `unread` makes the error of a table that cannot be read.
pub(crate) fn each<K: Pod, V: Pod, E>(
    info: &MapInfo,
    unread: impl Fn(io::Error) -> E,
    mut see: impl FnMut(&K, &V) -> Result<(), E>,
) -> Result<(), E> {
    let map = info.fd().map_err(|error| unread(io::Error::other(error)))?;
    let mut batch = Batch::new(info, 1).map_err(&unread)?;
    if (batch.key, batch.value) != (size_of::<K>(), size_of::<V>()) {
        return Err(unread(io::Error::new(io::ErrorKind::InvalidData, "its entries are of another size")));
    }
    let mut position = None;
    loop {
        let (count, next) = batch.next(map.as_fd(), position.as_ref()).map_err(&unread)?;
        let keys = batch.keys.chunks_exact(batch.key);
        for (key, value) in keys.zip(batch.values.chunks_exact(batch.value)).take(usize::try_from(count).unwrap_or(0)) {
            // SAFETY: it is as long as its type, and any bytes are a value of a type that is plain data.
            let key = unsafe { key.as_ptr().cast::<K>().read_unaligned() };
            // SAFETY: as above.
            let value = unsafe { value.as_ptr().cast::<V>().read_unaligned() };
            see(&key, &value)?;
        }
        let Some(next) = next else { return Ok(()) };
        position = Some(next);
    }
}

/// The bytes of the only value of an array, however long it is.
pub(crate) fn only_value(info: &MapInfo) -> io::Result<Vec<u8>> {
    let map = info.fd().map_err(io::Error::other)?;
    let mut batch = Batch::new(info, 1)?;
    batch.next(map.as_fd(), None)?;
    Ok(batch.values)
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "its entries are too large to be read in batches")
}
