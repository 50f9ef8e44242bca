//! Events that the CPU or the kernel counts, and that scripts are at after so many: `perf_event_open(2)`.

use crate::words::{Provider, nearest};

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Whether the CPU counts it; else the kernel does.
    pub hardware: bool,
    /// Its number (`enum perf_hw_id`, `enum perf_sw_ids` in `include/uapi/linux/perf_event.h`).
    pub number: u64,
    /// How many make a hit.
    pub count: u64,
}

/// Names, numbers, and how many events make a hit where the script does not say, as in bpftrace.
type Known = (&'static str, u64, u64);

const HARDWARE: &[Known] = &[
    ("backend-stalls", 8, 1_000_000),
    ("branch-instructions", 4, 100_000),
    ("branch-misses", 5, 100_000),
    ("branches", 4, 100_000),
    ("bus-cycles", 6, 100_000),
    ("cache-misses", 3, 1_000_000),
    ("cache-references", 2, 1_000_000),
    ("cpu-cycles", 0, 1_000_000),
    ("cycles", 0, 1_000_000),
    ("frontend-stalls", 7, 1_000_000),
    ("instructions", 1, 1_000_000),
    ("ref-cycles", 9, 1_000_000),
];

const SOFTWARE: &[Known] = &[
    ("alignment-faults", 7, 1),
    ("bpf-output", 10, 1),
    ("context-switches", 3, 1_000),
    ("cpu-clock", 0, 1_000_000),
    ("cpu-migrations", 4, 1),
    ("cpu", 0, 1_000_000),
    ("cs", 3, 1_000),
    ("dummy", 9, 1),
    ("emulation-faults", 8, 1),
    ("faults", 2, 100),
    ("major-faults", 6, 1),
    ("minor-faults", 5, 100),
    ("page-faults", 2, 100),
    ("task-clock", 1, 1),
];

fn known(provider: Provider) -> &'static [Known] {
    if provider == Provider::Hardware { HARDWARE } else { SOFTWARE }
}

/// All names of events of a kind, in the order in which bpftrace lists them: sorted with the colon behind them.
pub(crate) fn names(provider: Provider) -> impl Iterator<Item = &'static str> {
    known(provider).iter().map(|(name, ..)| *name)
}

impl Counter {
    /// The event of this name; how many make a hit is left to it where `count` is 0.
    pub(crate) fn find(provider: Provider, name: &str, count: u64) -> Option<Self> {
        let (_, number, usual) = known(provider).iter().find(|(known, ..)| *known == name)?;
        let count = if count == 0 { *usual } else { count };
        Some(Self { hardware: provider == Provider::Hardware, number: *number, count })
    }

    /// An event of nearly this name.
    pub(crate) fn near(provider: Provider, name: &str) -> Option<&'static str> {
        nearest(name, names(provider))
    }
}
