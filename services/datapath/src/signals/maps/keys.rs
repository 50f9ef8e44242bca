//! Reading a map's keys one by one, for kinds that the kernel does not read in batches.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::batch::Position;

/// Keys in one step.
const KEYS: u32 = 256;

/// `union bpf_attr`, the part for one element (`include/uapi/linux/bpf.h`).
#[repr(C)]
struct Attributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    next_key: u64,
}

/// How many keys of `size` bytes come after a position, and the position that the next step begins at; none at the end.
pub(super) fn next(
    map: BorrowedFd<'_>,
    size: usize,
    position: Option<&Position>,
) -> io::Result<(u32, Option<Position>)> {
    let mut key = position.cloned();
    for count in 0..KEYS {
        match after(map, key.as_deref(), size) {
            Ok(next) => key = Some(next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok((count, None)),
            Err(error) => return Err(error),
        }
    }
    Ok((KEYS, key))
}

fn after(map: BorrowedFd<'_>, key: Option<&[u8]>, size: usize) -> io::Result<Vec<u8>> {
    const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
    let mut next = vec![0; size];
    let mut attributes = Attributes {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: key.map_or(0, |key| key.as_ptr().expose_provenance() as u64),
        next_key: next.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: both keys are as long as the map's, and outlive the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_GET_NEXT_KEY, &raw mut attributes, size_of::<Attributes>()) };
    if answer == 0 { Ok(next) } else { Err(io::Error::last_os_error()) }
}
