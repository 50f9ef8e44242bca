//! How full a ring buffer is: its positions can be read where its reader reads them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first two pages of a ring, mapped to be read.
struct Positions {
    address: *mut libc::c_void,
    page: usize,
}

impl Positions {
    fn map(ring: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: takes and returns a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses where; nothing that is there already is touched.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), 2 * page, libc::PROT_READ, libc::MAP_SHARED, ring.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { address, page }) }
    }

    /// The number at the beginning of a page.
    fn read(&self, page: usize) -> u64 {
        let position = self.address.wrapping_byte_add(page * self.page).cast::<u64>();
        // SAFETY: both pages stay mapped as long as this lives, and others write there by whole words.
        let position = unsafe { AtomicU64::from_ptr(position) };
        position.load(Ordering::Acquire)
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        // SAFETY: this was mapped, and nothing points there any more.
        let _unmapped = unsafe { libc::munmap(self.address, 2 * self.page) };
    }
}

/// Bytes that were written and not read yet: the consumer's position is at the beginning of the first page, the producer's
/// of the second (`kernel/bpf/ringbuf.c`, `struct bpf_ringbuf`).
pub(super) fn used(ring: BorrowedFd<'_>) -> io::Result<u64> {
    let positions = Positions::map(ring)?;
    // In this order: what is written meanwhile may be counted, what is read never negative.
    let consumer = positions.read(0);
    Ok(positions.read(1).wrapping_sub(consumer))
}
