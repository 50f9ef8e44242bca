//! A cable that can delay and lose frames: it carries each frame from one interface to the other in user space.
//!
//! The kernels of some machines have no netem, and a cable that no kernel filter sits on leaves no drop counter behind,
//! just as a bad cable does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Netns;

/// Frames that may wait at once; more are lost, as in any cable's buffers.
const WAITING_MAX: usize = 65_536;
/// `struct virtio_net_hdr` before each frame: it carries what is left to compute (checksums, segmentation).
const VIRTIO_HEADER: usize = 10;
const FRAME_MAX: usize = VIRTIO_HEADER + 14 + 65_536;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// What the cable does to SYNs that go from left to right; everything else passes.
#[derive(Debug, Default)]
pub(crate) struct Fault {
    delay_ns: AtomicU64,
    lose_percent: AtomicU64,
    stop: AtomicBool,
}

impl Fault {
    /// Holds each SYN back for so long; zero ends it.
    pub(crate) fn delay_syns(&self, delay: Duration) {
        self.delay_ns.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Loses this share of the SYNs; zero ends it.
    pub(crate) fn lose_syns(&self, percent: u64) {
        self.lose_percent.store(percent, Relaxed);
    }
}

/// A running cable; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    fault: Arc<Fault>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Wire {
    /// Carries frames between `left` and `right` of a namespace.
    pub(crate) fn start(netns: &Netns) -> Result<Self> {
        let fault = Arc::new(Fault::default());
        let shared = fault.clone();
        let thread = netns.spawn(move || carry(&shared))?;
        Ok(Self { fault, thread: Some(thread) })
    }

    /// What it does to SYNs.
    pub(crate) fn fault(&self) -> Arc<Fault> {
        self.fault.clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.fault.stop.store(true, Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("a cable broke: {error:#}"),
            Some(Err(_panic)) => eprintln!("a cable's thread panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

/// A frame that waits: when it is due, its number, to which end it goes, and it.
type Waiting = Reverse<(Instant, u64, usize, Vec<u8>)>;

fn carry(fault: &Fault) -> Result<()> {
    let ends = [open("left")?, open("right")?];
    let mut waiting: BinaryHeap<Waiting> = BinaryHeap::new();
    let (mut frame, mut number, mut syns) = (vec![0; FRAME_MAX], 0_u64, 0_u64);
    while !fault.stop.load(Relaxed) {
        let now = Instant::now();
        while waiting.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, to, frame))) = waiting.pop() {
                send(&ends[to], &frame)?;
            }
        }
        let pause = waiting.peek().map_or(Duration::from_millis(50), |Reverse((due, ..))| *due - now);
        let mut polled =
            [PollFd::new(ends[0].as_fd(), PollFlags::POLLIN), PollFd::new(ends[1].as_fd(), PollFlags::POLLIN)];
        let pause = u16::try_from(pause.as_millis().min(50)).unwrap_or(50).max(1);
        poll(&mut polled, PollTimeout::from(pause)).context("poll")?;
        for (from, to) in [(0, 1), (1, 0)] {
            while let Some(length) = receive(&ends[from], &mut frame)? {
                number += 1;
                let syn = from == 0 && is_syn(&frame[VIRTIO_HEADER.min(length)..length]);
                syns += u64::from(syn);
                if syn && lost(syns, fault.lose_percent.load(Relaxed)) {
                    continue;
                }
                let delay = Duration::from_nanos(if syn { fault.delay_ns.load(Relaxed) } else { 0 });
                if delay.is_zero() {
                    send(&ends[to], &frame[..length])?;
                } else if waiting.len() < WAITING_MAX {
                    waiting.push(Reverse((Instant::now() + delay, number, to, frame[..length].to_vec())));
                }
            }
        }
    }
    Ok(())
}

/// The same SYNs in each run, spread evenly: a share of them by a multiplicative hash of their number.
const fn lost(number: u64, percent: u64) -> bool {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < percent * ((1 << 32) / 100)
}

/// A TCP segment over IPv4 that has SYN set and ACK not.
fn is_syn(frame: &[u8]) -> bool {
    let ip = 14;
    if frame.get(12..14) != Some(&[8, 0]) || frame.get(ip + 9) != Some(&6) {
        return false;
    }
    let header = frame.get(ip).map_or(0, |first| usize::from(first & 15) * 4);
    frame.get(ip + header + 13).is_some_and(|flags| flags & 0x12 == 0x02)
}

fn open(interface: &str) -> Result<OwnedFd> {
    let index = if_nametoindex(interface).with_context(|| format!("interface {interface}"))?;
    let everything = u16::try_from(libc::ETH_P_ALL).context("a protocol number")?.to_be();
    // SAFETY: a plain system call.
    let fd = unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, everything.into())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("packet socket");
    }
    // SAFETY: the descriptor is ours and new.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set(&socket, libc::PACKET_VNET_HDR, 1)?;
    set(&socket, PACKET_IGNORE_OUTGOING, 1)?;
    // SAFETY: all zero is a valid address of this type.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).context("a family")?;
    address.sll_protocol = everything;
    address.sll_ifindex = index.cast_signed();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).context("a length")?;
    // SAFETY: the address is valid for `length` bytes.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("binding to {interface}"));
    }
    // Bursts of thousands of SYNs: the default holds a few hundred frames.
    for buffer in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        let size: libc::c_int = 32 << 20;
        option(&socket, libc::SOL_SOCKET, buffer, size)?;
    }
    Ok(socket)
}

fn set(socket: &OwnedFd, name: libc::c_int, value: libc::c_int) -> Result<()> {
    option(socket, libc::SOL_PACKET, name, value)
}

fn option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).context("a length")?;
    // SAFETY: the value is valid for `length` bytes.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if done < 0 { Err(io::Error::last_os_error()).with_context(|| format!("socket option {name}")) } else { Ok(()) }
}

/// One frame with its header; none when there is none.
fn receive(socket: &OwnedFd, frame: &mut [u8]) -> Result<Option<usize>> {
    // SAFETY: the buffer is valid for its length.
    let got = unsafe { libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
    usize::try_from(got).map(Some).or_else(|_negative| {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // The interface is down while the lab is taken apart.
            Some(libc::EAGAIN | libc::ENETDOWN | libc::EINTR) => Ok(None),
            _ => Err(error).context("receiving"),
        }
    })
}

fn send(socket: &OwnedFd, frame: &[u8]) -> Result<()> {
    // SAFETY: the buffer is valid for its length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    if sent < 0 {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // A full queue loses frames, as everywhere; an interface that is down, too.
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENETDOWN | libc::ENXIO | libc::EINTR) => return Ok(()),
            _ => return Err(error).context("sending"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lost_share_is_what_was_asked_for() {
        for percent in [0, 30, 100] {
            let lost = (0..10_000).filter(|number| lost(*number, percent)).count();
            assert!(lost.abs_diff(usize::try_from(percent).unwrap() * 100) < 100, "{lost} for {percent} %");
            // No stretch of twenty without its share.
            for start in 0..1000 {
                let lost = (start..start + 20).filter(|number| self::lost(*number, percent)).count();
                assert!(lost.abs_diff(usize::try_from(percent).unwrap() / 5) <= 1, "{lost} of 20 for {percent} %");
            }
        }
    }
}
