//! Programs to the places where they are hit.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::perf::{PerfEvent, open_perf_event};
use super::sys::{link_functions, open_raw_tracepoint};
use crate::cpus;
use crate::target::{KernelFunction, Period, Target, Way};

/// Attaches a program. It is detached when what this gives is closed.
pub(super) fn attach(target: &Target, program: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    match target {
        // These are run, not attached.
        Target::Begin | Target::End | Target::Signal => Ok(Vec::new()),
        Target::RawTracepoint { event, typed } => {
            let name = typed.is_none().then_some(event.as_str());
            Ok(vec![open_raw_tracepoint(name, program)?])
        }
        Target::Counter(counter) => {
            cpus::online()?.into_iter().map(|cpu| open_perf_event(PerfEvent::Counted(*counter), cpu, program)).collect()
        }
        Target::Clock { period, every_cpu } => {
            let event = match *period {
                Period::Every(nanoseconds) => PerfEvent::ClockPeriod(nanoseconds),
                Period::Rate(rate) => PerfEvent::ClockRate(rate),
            };
            let mut cpus = cpus::online()?;
            if !every_cpu {
                cpus.truncate(1);
            }
            cpus.into_iter().map(|cpu| open_perf_event(event, cpu, program)).collect()
        }
        Target::Functions { way: Way::Typed(..), .. } => Ok(vec![open_raw_tracepoint(None, program)?]),
        Target::Functions { functions, exit, way: Way::Kprobe { offset }, .. } => {
            let event = |function: &KernelFunction| {
                let name = CString::new(function.to_string()).map_err(io::Error::other)?;
                let event = PerfEvent::Function { name: &name, offset: *offset, exit: *exit };
                open_perf_event(event, 0, program)
            };
            if let [only] = functions.as_slice() {
                return Ok(vec![event(only)?]);
            }
            let mut links = Vec::new();
            let mut last = None;
            for function in functions {
                match event(function) {
                    Ok(link) => links.push(link),
                    Err(error) if is_refusal(&error) => last = Some(error),
                    Err(error) => return Err(error),
                }
            }
            // Of a pattern's functions, some may not be probed: who asked for all is served with the others.
            last.filter(|_| links.is_empty()).map_or(Ok(links), Err)
        }
        Target::Functions { functions, exit, way: Way::Multi, .. } => {
            let names: Vec<String> = functions.iter().map(|function| function.name.clone()).collect();
            Ok(vec![link_functions(&names, *exit, program)?])
        }
        // A tracepoint's programs run wherever it is hit, on whichever CPU the event was opened.
        Target::Tracepoint { id } => Ok(vec![open_perf_event(PerfEvent::Tracepoint(*id), 0, program)?]),
    }
}

/// Whether the kernel has a function that it does not let be probed: probes themselves run it, or several are called so.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::EADDRNOTAVAIL | libc::EILSEQ))
}
