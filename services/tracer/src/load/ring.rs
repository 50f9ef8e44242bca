//! The reading end of a ring buffer (`kernel/bpf/ringbuf.c`).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::shared::Shared;

/// A record is still being written.
const BUSY: u32 = 1 << 31;
/// A record was given up.
const DISCARDED: u32 = 1 << 30;
/// Bytes before each record: its length and where it is.
const HEADER: usize = 8;

/// The reading end.
#[derive(Debug)]
pub(crate) struct Ring {
    /// How far was read; this end writes it.
    consumer: Shared,
    /// How far was written, and behind a page the records, mapped twice so that none is cut.
    producer: Shared,
    page: usize,
    size: usize,
}

impl Ring {
    /// Of a buffer of so many bytes.
    pub(super) fn new(map: BorrowedFd<'_>, size: u32) -> io::Result<Self> {
        let page = page_size();
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let consumer = Shared::new(map, true, 0, page)?;
        let producer = Shared::new(map, false, page, page + 2 * size)?;
        Ok(Self { consumer, producer, page, size })
    }

    /// Shows all records that are whole, oldest first, until `see` has enough. Gives how many it saw.
    pub(crate) fn drain(&mut self, mut see: impl FnMut(&[u8]) -> bool) -> usize {
        let mut position = self.consumer.word(0).load(Ordering::Relaxed);
        let mut seen = 0;
        loop {
            let written = self.producer.word(0).load(Ordering::Acquire);
            if position >= written {
                return seen;
            }
            let at = self.page + usize::try_from(position).unwrap_or(0) % self.size;
            let header = self.producer.half(at).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return seen;
            }
            let length = (header & !(BUSY | DISCARDED)) as usize;
            let mut go_on = true;
            if header & DISCARDED == 0 {
                go_on = see(self.producer.settled(at + HEADER, length));
                seen += 1;
            }
            position += (length + HEADER).next_multiple_of(8) as u64;
            self.consumer.word(0).store(position, Ordering::Release);
            if !go_on {
                return seen;
            }
        }
    }
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}
