//! Memory that maps share with this process.
#![expect(unsafe_code, reason = "memory that the kernel changes")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Memory that a map shares with this process.
#[derive(Debug)]
pub(super) struct Shared {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory belongs to the process; all reads and writes of what the kernel changes are atomic.
unsafe impl Send for Shared {}

impl Shared {
    /// So many bytes from an offset.
    pub(super) fn new(map: BorrowedFd<'_>, writable: bool, offset: usize, length: usize) -> io::Result<Self> {
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses a place where nothing is yet.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// A number that the kernel or this process may change at any time; `at` is a multiple of its size.
    fn atomic<T>(&self, at: usize) -> &T {
        assert!(at.is_multiple_of(align_of::<T>()) && at + size_of::<T>() <= self.length, "outside of the memory");
        // SAFETY: it lies within the memory, as just checked.
        let place = unsafe { self.start.add(at) };
        // SAFETY: it is aligned, and any bytes are a number.
        unsafe { &*place.cast() }
    }

    pub(super) fn word(&self, at: usize) -> &std::sync::atomic::AtomicU64 {
        self.atomic(at)
    }

    pub(super) fn half(&self, at: usize) -> &std::sync::atomic::AtomicU32 {
        self.atomic(at)
    }

    /// Bytes that the kernel does not change any more: it said so by a number that was read before.
    pub(super) fn settled(&self, at: usize, length: usize) -> &[u8] {
        assert!(at.checked_add(length).is_some_and(|end| end <= self.length), "outside of the memory");
        // SAFETY: it lies within the memory, as just checked.
        let place = unsafe { self.start.add(at) };
        // SAFETY: as above; the record belongs to the reader until its position passes it.
        unsafe { std::slice::from_raw_parts(place, length) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody borrows from it any more. A failure leaves it mapped.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
