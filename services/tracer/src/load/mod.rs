//! Programs and maps into the kernel, and what it says when it refuses them.

mod attach;
mod map;
mod perf;
mod ring;
mod shared;
mod spent;
mod sys;
mod types;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use synscope_btf::Found;

pub(crate) use map::LoadedMap;
pub(crate) use perf::has_kprobes;
pub(crate) use ring::Ring;
pub use spent::{Exceeded, Spent};

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::lockdown;
use crate::lower::Lowered;
use crate::plan::{self, MapPlan, Places, counter};
use crate::target::{Target, Way};
use crate::typed::{Probe, Script};
use sys::{Program, ProgramKind};

/// Why a trace cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Whoever runs this may not trace.
    #[error("the kernel does not permit it: tracing takes root, or CAP_BPF and CAP_PERFMON")]
    NotPermitted(#[source] io::Error),
    /// A map could not be made.
    #[error("the kernel does not make the map `{name}` of {entries} entries")]
    Map {
        /// Its name.
        name: String,
        /// Its entries.
        entries: u32,
        /// Why.
        source: io::Error,
    },
    /// The kernel's verifier refuses a program, for a reason that has a place in the script.
    #[error("the kernel refuses the program: {}", .0.diagnostic.message)]
    Refused(Box<Refused>),
    /// The kernel's verifier goes through all ways that a program may take, and there are too many (more than a million
    /// instructions in all).
    #[error("the kernel finds `{0}` too complex: it needs fewer branches within loops")]
    TooComplex(String),
    /// A program could not be attached.
    #[error("`{probe}` cannot be attached")]
    Attach {
        /// The probe.
        probe: String,
        /// Why.
        source: io::Error,
    },
    /// Whoever runs this may trace, but not so.
    #[error("`{probe}` cannot be attached{}", .why.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    Forbidden {
        /// The probe.
        probe: String,
        /// Which rule may forbid it.
        why: Option<String>,
        /// What the kernel says.
        source: io::Error,
    },
    /// The machine does not count such events; a virtual one often counts none.
    #[error("`{probe}` cannot be attached: this machine has no such counter")]
    NoCounter {
        /// The probe.
        probe: String,
        /// Why.
        source: io::Error,
    },
    /// A map could not be read or written.
    #[error("a map of the trace cannot be used")]
    Use(#[from] io::Error),
}

/// A program that the kernel's verifier refuses.
#[derive(Debug)]
pub struct Refused {
    /// What it says, with the place in the script.
    pub diagnostic: Diagnostic,
    /// All that it says.
    pub log: String,
}

/// Bytes of the verifier's log; where it says more, the end is kept.
const LOG: usize = 1 << 20;

/// What a kernel that is locked down lets programs read all the same.
const PERMITTED: &str = "numbers are permitted: arguments, fields of a tracepoint's record, and what typed pointers \
    (`args` of fentry, fexit and raw tracepoints) lead to";

/// Programs where they are hit; they are detached when this goes.
#[derive(Debug)]
pub(crate) struct Attached {
    links: Vec<OwnedFd>,
    /// Probes by name, with how many of their functions the kernel does not let be probed.
    pub(crate) refused: Vec<(String, usize)>,
}

impl Attached {
    /// Detaches all of them, now.
    pub(crate) fn detach(&mut self) {
        self.links.clear();
    }
}

/// A script in the kernel. What it made there goes when this goes.
#[derive(Debug)]
pub(crate) struct Loaded {
    maps: Vec<LoadedMap>,
    programs: Vec<OwnedFd>,
    places: Places,
    pub(crate) ring: Ring,
}

impl Loaded {
    /// Makes the maps and loads the programs.
    pub(crate) fn new(script: &Script, lowered: &Lowered) -> Result<Self, LoadError> {
        sys::lift_limits();
        let places = Places::of(script);
        let maps: Vec<LoadedMap> = needed(script, lowered).into_iter().map(LoadedMap::new).collect::<Result<_, _>>()?;
        let ring = maps.get(places.ring().0 as usize).map(LoadedMap::ring).transpose()?;
        let ring = ring.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut loaded = Self { maps, programs: Vec::new(), places, ring };
        for (probe, code) in script.probes.iter().zip(&lowered.programs) {
            loaded.programs.push(loaded.load(probe, code)?);
        }
        loaded.start_clock()?;
        Ok(loaded)
    }

    /// One of the script's own maps.
    pub(crate) fn map(&self, map: usize) -> Option<&LoadedMap> {
        self.maps.get(map)
    }

    /// The front of one of them.
    pub(crate) fn front(&self, map: usize) -> Option<&LoadedMap> {
        self.places.front(map).and_then(|front| self.maps.get(front.0 as usize))
    }

    pub(crate) fn stacks(&self) -> Option<&LoadedMap> {
        self.maps.get(self.places.stacks().0 as usize)
    }

    /// What was lost so far: records, and values.
    pub(crate) fn losses(&self) -> io::Result<(u64, u64)> {
        let counters = self.counters()?;
        let read = |at: u32| {
            let at = at as usize;
            counters.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
        };
        Ok((read(counter::LOST), read(counter::FULL)))
    }

    /// Hits at which a program was not run, as one ran on that CPU already.
    pub(crate) fn missed(&self) -> io::Result<u64> {
        self.programs.iter().map(|program| sys::missed(program.as_fd())).sum()
    }

    /// What the programs spent so far, of a script that was lowered within a budget.
    pub(crate) fn spent(&self) -> io::Result<Spent> {
        let Some(map) = self.maps.get(self.places.spent().0 as usize) else { return Ok(Spent::default()) };
        let value = map.get(&0_u32.to_ne_bytes())?.unwrap_or_default();
        Ok(Spent::of(map.per_cpu(&value)))
    }

    fn counters(&self) -> io::Result<Vec<u8>> {
        let map = self.maps.get(self.places.counters().0 as usize);
        let value = map.map(|map| map.get(&0_u32.to_ne_bytes())).transpose()?.flatten();
        value.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Notes when the trace begins.
    fn start_clock(&self) -> io::Result<()> {
        let now = Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut counters = self.counters()?;
        let at = counter::START as usize;
        if let Some(place) = counters.get_mut(at..at + 8) {
            place.copy_from_slice(&now.to_ne_bytes());
        }
        match self.maps.get(self.places.counters().0 as usize) {
            Some(map) => map.put(&0_u32.to_ne_bytes(), &counters),
            None => Ok(()),
        }
    }

    fn load(&self, probe: &Probe, code: &Code) -> Result<OwnedFd, LoadError> {
        let mut instructions = code.instructions.clone();
        for (at, map) in &code.maps {
            if let (Some(instruction), Some(map)) = (instructions.get_mut(*at), self.maps.get(map.0 as usize)) {
                instruction.immediate = map.as_fd().as_raw_fd();
            }
        }
        let encoded: Vec<[u8; 8]> = instructions.iter().map(|instruction| instruction.encode()).collect();
        let kind = match &probe.target {
            Target::Begin | Target::End | Target::Signal | Target::RawTracepoint { typed: None, .. } => {
                ProgramKind::RawTracepoint
            }
            Target::RawTracepoint { typed: Some((_, id)), .. } => ProgramKind::TypedTracepoint(id.number()),
            Target::Clock { .. } | Target::Counter(_) => ProgramKind::PerfEvent,
            Target::Tracepoint { .. } => ProgramKind::Tracepoint,
            Target::Functions { way, exit, .. } => match way {
                Way::Typed(_, id) if *exit => ProgramKind::Exit(id.number()),
                Way::Typed(_, id) => ProgramKind::Entry(id.number()),
                Way::Kprobe { .. } => ProgramKind::Kprobe,
                Way::Multi => ProgramKind::KprobeMulti,
            },
        };
        let name: String = probe.name.rsplit(':').next().unwrap_or("probe").to_owned();
        // A program with functions must say what they are.
        let several = code.functions.len() > 1;
        let own_types = several.then(|| sys::load_types(&types::of_functions(code.functions.len()))).transpose()?;
        let places = types::places(&code.functions);
        let functions = own_types.as_ref().map(|types| (types.as_fd(), places.as_slice()));
        let module = match &probe.target {
            Target::RawTracepoint { typed: Some((btf, _)), .. } | Target::Functions { way: Way::Typed(btf, _), .. } => {
                btf.module_name()
            }
            _ => None,
        };
        let module = module.map(sys::module_types).transpose();
        let module = module.map_err(|source| LoadError::Attach { probe: probe.name.clone(), source })?;
        let module = module.as_ref().map(AsFd::as_fd);
        let program = Program { kind, name: &name, instructions: &encoded, module, functions };
        let error = match sys::load_program(&program, None) {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        // It takes a second to find out, and as many minutes to log.
        if error.raw_os_error() == Some(libc::E2BIG) {
            return Err(LoadError::TooComplex(probe.name.clone()));
        }
        let mut log = vec![0; LOG];
        match sys::load_program(&program, Some(&mut log)) {
            Ok(program) => Ok(program),
            Err(_again) => {
                let refused = refused(probe, code, &error, &log);
                // "The sequence of 8193 jumps is too complex."
                let complex = refused.log.lines().any(|line| line.ends_with("is too complex."));
                Err(if complex {
                    LoadError::TooComplex(probe.name.clone())
                } else {
                    LoadError::Refused(Box::new(refused))
                })
            }
        }
    }

    /// Attaches all programs but those of the beginning and the end.
    pub(crate) fn attach(&self, script: &Script) -> Result<Attached, LoadError> {
        let mut attached = Attached { links: Vec::new(), refused: Vec::new() };
        for (probe, program) in script.probes.iter().zip(&self.programs) {
            let links = attach::attach(&probe.target, program.as_fd());
            let links = links.map_err(|source| match (&probe.target, source.raw_os_error()) {
                (Target::Counter(_), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => {
                    LoadError::NoCounter { probe: probe.name.clone(), source }
                }
                (Target::Functions { way: Way::Kprobe { .. }, .. }, Some(libc::EPERM)) => {
                    LoadError::Forbidden { probe: probe.name.clone(), why: lockdown::why("kprobes"), source }
                }
                _ => LoadError::Attach { probe: probe.name.clone(), source },
            })?;
            if let Target::Functions { functions, way: Way::Kprobe { .. }, .. } = &probe.target
                && functions.len() > links.len()
            {
                attached.refused.push((probe.name.clone(), functions.len() - links.len()));
            }
            attached.links.extend(links);
        }
        Ok(attached)
    }

    /// Runs the programs of the beginning, or those of the end.
    pub(crate) fn run(&self, script: &Script, wanted: impl Fn(&Target) -> bool) -> Result<(), LoadError> {
        for (probe, program) in script.probes.iter().zip(&self.programs) {
            if wanted(&probe.target) {
                sys::run_program(program.as_fd())
                    .map_err(|source| LoadError::Attach { probe: probe.name.clone(), source })?;
            }
        }
        Ok(())
    }
}

/// The maps that a script is loaded with.
fn needed(script: &Script, lowered: &Lowered) -> Vec<MapPlan> {
    let probes = u32::try_from(script.probes.len()).unwrap_or(u32::MAX);
    let always = Places::of(script).counters().0;
    let used = |id: u32| lowered.programs.iter().flat_map(|code| &code.maps).any(|(_, map)| map.0 == id);
    // Stacks take a megabyte and more: only who needs them has them.
    let sized = |(id, plan)| if id <= always || used(id) { plan } else { MapPlan { entries: 1, ..plan } };
    (0..).zip(plan::maps(script, (lowered.arena, probes))).map(sized).collect()
}

/// Bytes that the maps of a script take at most.
pub fn memory(script: &Script, lowered: &Lowered) -> u64 {
    needed(script, lowered).iter().map(map::bytes).sum()
}

/// Whether the kernel takes programs that it calls from within a function (fentry, fexit), and this function among them.
pub(crate) fn takes_typed(function: &Found, exit: bool) -> io::Result<()> {
    // `r0 = 0; exit`
    const NOTHING: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let id = function.id.number();
    let kind = if exit { ProgramKind::Exit(id) } else { ProgramKind::Entry(id) };
    let module = function.btf.module_name().map(sys::module_types).transpose()?;
    let module = module.as_ref().map(AsFd::as_fd);
    let program = Program { kind, name: "trial", instructions: &NOTHING, module, functions: None };
    sys::load_program(&program, None).map(drop)
}

/// Has the kernel verify a script's programs, without running them.
pub fn verify(script: &Script, lowered: &Lowered) -> Result<(), LoadError> {
    Loaded::new(script, lowered).map(drop)
}

/// What the verifier says, at the place in the script whose instruction it spoke of last.
fn refused(probe: &Probe, code: &Code, error: &io::Error, log: &[u8]) -> Refused {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned();
    let instruction = log.lines().rev().find_map(|line| {
        let (number, rest) = line.split_once(": (")?;
        rest.get(2..3).filter(|behind| *behind == ")")?;
        number.trim().parse::<usize>().ok()
    });
    let span = instruction.and_then(|index| code.spans.get(index)).copied().unwrap_or(probe.span);
    let is_summary = |line: &&str| {
        line.is_empty()
            || line.starts_with("processed ")
            || line.starts_with("verification time")
            || line.contains(": (")
    };
    let reason = log.lines().rev().find(|line| !is_summary(line)).unwrap_or_default().to_owned();
    // "program of this type cannot use helper bpf_probe_read_kernel#113", "unknown func bpf_probe_read_kernel#113"
    if (reason.contains(" helper bpf_probe_read_kernel") || reason.contains(" func bpf_probe_read_kernel"))
        && let Some(why) = lockdown::why("programs to copy from its memory")
    {
        let message = format!("the kernel refuses `{}`: {why}", probe.name);
        let diagnostic = Diagnostic::error("lockdown", message, span).here(reason).because(PERMITTED);
        return Refused { diagnostic, log };
    }
    let diagnostic = Diagnostic::error("verifier", format!("the kernel refuses `{}`: {error}", probe.name), span);
    let diagnostic = if reason.is_empty() { diagnostic } else { diagnostic.here(reason) };
    Refused { diagnostic, log }
}
