//! What a trace's programs spent, by their own account.

use crate::plan::spent;

/// What a trace's programs spent on all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Hits.
    pub hits: u64,
    /// Time from each program's first instruction to its last, ns.
    pub run_ns: u64,
    /// The CPU on which it was too much.
    pub exceeded: Option<Exceeded>,
}

/// A CPU on which too much was spent: no program does anything there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// The CPU.
    pub cpu: usize,
    /// Whether there were too many hits; else they took too long.
    pub by_hits: bool,
    /// Hits within the window.
    pub hits: u64,
    /// Time that programs took within it, ns.
    pub run_ns: u64,
    /// How long the window had lasted, ns; at most about a second.
    pub within_ns: u64,
}

impl Spent {
    /// Of what each CPU has.
    pub(super) fn of<'v>(parts: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut all = Self::default();
        for (cpu, part) in parts.enumerate() {
            let read = |at: i16| {
                let at = usize::from(at.unsigned_abs());
                part.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
            };
            all.hits = all.hits.saturating_add(read(spent::ALL_HITS));
            all.run_ns = all.run_ns.saturating_add(read(spent::ALL_RUN));
            let by = read(spent::EXCEEDED);
            if by != 0 && all.exceeded.is_none() {
                all.exceeded = Some(Exceeded {
                    cpu,
                    by_hits: by == u64::from(spent::BY_HITS.unsigned_abs()),
                    hits: read(spent::HITS),
                    run_ns: read(spent::RUN),
                    within_ns: read(spent::AT).saturating_sub(read(spent::WINDOW)),
                });
            }
        }
        all
    }
}
