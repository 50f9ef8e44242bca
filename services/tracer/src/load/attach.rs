//! Programs to the places where they are hit.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::perf::{PerfEvent, open_perf_event};
use super::sys::open_raw_tracepoint;
use crate::typed::{Period, Target};

/// Attaches a program. It is detached when what this gives is closed.
pub(super) fn attach(target: &Target, program: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    match target {
        // These are run, not attached.
        Target::Begin | Target::End => Ok(Vec::new()),
        Target::RawTracepoint { event, typed } => {
            let name = typed.is_none().then_some(event.as_str());
            Ok(vec![open_raw_tracepoint(name, program)?])
        }
        Target::Clock { period, every_cpu } => {
            let event = match *period {
                Period::Every(nanoseconds) => PerfEvent::ClockPeriod(nanoseconds),
                Period::Rate(rate) => PerfEvent::ClockRate(rate),
            };
            let mut cpus = online_cpus()?;
            if !every_cpu {
                cpus.truncate(1);
            }
            cpus.into_iter().map(|cpu| open_perf_event(event, cpu, program)).collect()
        }
        // A tracepoint's programs run wherever it is hit, on whichever CPU the event was opened.
        Target::Tracepoint { id } => Ok(vec![open_perf_event(PerfEvent::Tracepoint(*id), 0, program)?]),
    }
}

/// The numbers of the CPUs that run now.
fn online_cpus() -> io::Result<Vec<i32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<i32>().map_err(io::Error::other);
        cpus.extend(number(first)?..=number(last)?);
    }
    Ok(cpus)
}
