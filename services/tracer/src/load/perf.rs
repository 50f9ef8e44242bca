//! Perf events: `perf_event_open(2)`.
#![expect(unsafe_code, reason = "a system call")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::sys::owned;
use crate::counters::Counter;

/// Missing where the kernel was built without `CONFIG_KPROBE_EVENTS`.
const KPROBE_KIND: &str = "/sys/bus/event_source/devices/kprobe/type";

/// What a perf event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PerfEvent<'f> {
    /// Nanoseconds of a CPU's clock: a hit after so many.
    ClockPeriod(u64),
    /// The same: so many hits a second.
    ClockRate(u64),
    /// Events of any kind.
    Counted(Counter),
    /// Hits of a tracepoint.
    Tracepoint(u64),
    /// Calls of a function, or its returns; its name may begin with its module's and a colon.
    Function {
        /// Its name.
        name: &'f CStr,
        /// Bytes behind its start.
        offset: u64,
        /// Whether returns.
        exit: bool,
    },
}

/// Whether the kernel has events that are probes at instructions.
pub(crate) fn has_kprobes() -> bool {
    std::path::Path::new(KPROBE_KIND).exists()
}

/// The number of the kernel's kind of events that are probes at instructions, where it has them.
fn kprobe_kind() -> io::Result<u32> {
    let text = std::fs::read_to_string(KPROBE_KIND)?;
    text.trim().parse().map_err(io::Error::other)
}

/// Opens a perf event on one CPU and attaches a program to it.
pub(super) fn open_perf_event(event: PerfEvent<'_>, cpu: i32, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `struct perf_event_attr` up to `PERF_ATTR_SIZE_VER1`.
    #[repr(C)]
    struct Event {
        kind: u32,
        size: u32,
        config: u64,
        period_or_rate: u64,
        sample: u64,
        read_format: u64,
        flags: u64,
        wake_up: u32,
        breakpoint: u32,
        name: *const libc::c_char,
        offset: u64,
    }
    const HARDWARE: u32 = 0;
    const SOFTWARE: u32 = 1;
    const TRACEPOINT: u32 = 2;
    const CPU_CLOCK: u64 = 0;
    /// The third field is a rate.
    const IS_RATE: u64 = 1 << 10;
    const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
    const SET_BPF: libc::c_ulong = 0x4004_2408;
    const ENABLE: libc::c_ulong = 0x2400;
    let (name, offset) = match event {
        PerfEvent::Function { name, offset, .. } => (name.as_ptr(), offset),
        _ => (std::ptr::null(), 0),
    };
    let (kind, config, period_or_rate, flags) = match event {
        PerfEvent::ClockPeriod(period) => (SOFTWARE, CPU_CLOCK, period, 0),
        PerfEvent::ClockRate(rate) => (SOFTWARE, CPU_CLOCK, rate, IS_RATE),
        PerfEvent::Counted(Counter { hardware, number, count }) => {
            (if hardware { HARDWARE } else { SOFTWARE }, number, count, 0)
        }
        PerfEvent::Tracepoint(id) => (TRACEPOINT, id, 1, 0),
        // `retprobe` is the lowest bit.
        PerfEvent::Function { exit, .. } => (kprobe_kind()?, u64::from(exit), 1, 0),
    };
    let size = u32::try_from(size_of::<Event>()).map_err(io::Error::other)?;
    let attributes = Event {
        kind,
        size,
        config,
        period_or_rate,
        sample: 0,
        read_format: 0,
        flags,
        wake_up: 0,
        breakpoint: 0,
        name,
        offset,
    };
    let (every_process, no_group) = (-1, -1);
    // SAFETY: the attributes are as long as they say, and a name in them ends with a zero.
    let answer = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, every_process, cpu, no_group, CLOSE_ON_EXEC)
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = owned(answer)?;
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both take a number.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}
