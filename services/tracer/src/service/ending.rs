//! When a trace is to end, and why.

use std::time::{Duration, Instant};

use synscope_bus::message::trace::{Ending, Limit};

use super::settings::LimitSettings;
use crate::load::{Exceeded, Spent};

/// The span that lines are counted in.
const SECOND: Duration = Duration::from_secs(1);

/// How long a trace may go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// When it ends at the latest.
    pub(super) until: Instant,
    /// It ends when it was not renewed for so long.
    pub(super) lease: Option<Duration>,
    /// It ends when NATS was away for so long.
    pub(super) away: Duration,
}

/// What is known of a trace from outside just now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub(super) now: Instant,
    /// When its lease was last renewed.
    pub(super) renewed: Instant,
    /// Since when NATS is away.
    pub(super) away_since: Option<Instant>,
    /// Whether it was told to end.
    pub(super) stopped: bool,
    /// Whether the tracer was.
    pub(super) tracer_ended: bool,
}

impl Term {
    /// Why it is to end now.
    pub(super) fn over(&self, around: Around) -> Option<Ending> {
        let Around { now, renewed, away_since, stopped, tracer_ended } = around;
        let away = away_since.map(|since| now.saturating_duration_since(since));
        let unrenewed = now.saturating_duration_since(renewed);
        if stopped {
            Some(Ending::Stopped)
        } else if tracer_ended {
            Some(Ending::TracerEnded)
        } else if now >= self.until {
            Some(Ending::Duration)
        } else if away.is_some_and(|away| away > self.lease.unwrap_or(self.away)) {
            Some(Ending::NatsAway)
        } else if self.lease.is_some_and(|lease| unrenewed > lease) {
            // Who would renew it cannot, as long as NATS is away.
            Some(if away.is_some() { Ending::NatsAway } else { Ending::Lease })
        } else {
            None
        }
    }
}

/// Why a trace whose programs spent so much is to end.
pub(super) fn exceeded(spent: Spent, limits: LimitSettings) -> Option<Ending> {
    let Exceeded { cpu, by_hits, hits, run_ns, within_ns } = spent.exceeded?;
    let ms = within_ns / 1_000_000;
    let (limit, found, allowed, what) = if by_hits {
        let allowed = limits.hits_per_second;
        (Limit::HitsPerSecond, hits, allowed, format!("{hits} hits within {ms} ms on CPU {cpu}, {allowed} per second"))
    } else {
        let (took, allowed) = (run_ns / 1_000_000, limits.cpu_permille);
        let what = format!("programs took {took} ms within {ms} ms on CPU {cpu}, {allowed} ms per second");
        (Limit::CpuPermille, took, allowed, what)
    };
    Some(Ending::Limit { limit, found, allowed, detail: format!("{what} are allowed") })
}

/// Counts lines, second by second.
#[derive(Debug)]
pub(super) struct LineRate {
    since: Instant,
    before: u64,
}

impl LineRate {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, before: 0 }
    }

    /// Why a trace that has written so many lines so far is to end.
    pub(super) fn exceeded(&mut self, now: Instant, lines: u64, allowed: u64) -> Option<Ending> {
        let found = lines - self.before;
        if found > allowed {
            let ms = now.saturating_duration_since(self.since).as_millis();
            let detail = format!("{found} lines within {ms} ms, {allowed} per second are allowed");
            return Some(Ending::Limit { limit: Limit::LinesPerSecond, found, allowed, detail });
        }
        if now.saturating_duration_since(self.since) >= SECOND {
            *self = Self { since: now, before: lines };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn each_reason_to_end_is_told_from_the_others() {
        let begin = Instant::now();
        let term = Term { until: begin + seconds(60), lease: Some(seconds(5)), away: seconds(30) };
        let around = |at: u64| Around {
            now: begin + seconds(at),
            renewed: begin + seconds(at),
            away_since: None,
            stopped: false,
            tracer_ended: false,
        };
        assert_eq!(term.over(around(59)), None);
        assert_eq!(term.over(around(60)), Some(Ending::Duration));
        assert_eq!(term.over(Around { stopped: true, ..around(60) }), Some(Ending::Stopped));
        assert_eq!(term.over(Around { tracer_ended: true, ..around(1) }), Some(Ending::TracerEnded));
        let unrenewed = Around { renewed: begin, ..around(6) };
        assert_eq!(term.over(Around { renewed: begin, ..around(5) }), None);
        assert_eq!(term.over(unrenewed), Some(Ending::Lease));
        let away = Some(begin + seconds(3));
        assert_eq!(term.over(Around { away_since: away, ..unrenewed }), Some(Ending::NatsAway));
        // Without a lease, NATS may be away for longer.
        let free = Term { lease: None, ..term };
        assert_eq!(free.over(Around { renewed: begin, away_since: away, ..around(33) }), None);
        assert_eq!(free.over(Around { renewed: begin, away_since: away, ..around(34) }), Some(Ending::NatsAway));
    }

    #[test]
    fn lines_are_counted_by_the_second() {
        let begin = Instant::now();
        let mut rate = LineRate::new(begin);
        assert_eq!(rate.exceeded(begin, 10, 10), None);
        assert_eq!(rate.exceeded(begin + seconds(1), 10, 10), None);
        assert_eq!(rate.exceeded(begin + seconds(1), 20, 10), None);
        let Some(Ending::Limit { limit, found, allowed, .. }) = rate.exceeded(begin + seconds(1), 21, 10) else {
            panic!("not exceeded");
        };
        assert_eq!((limit, found, allowed), (Limit::LinesPerSecond, 11, 10));
    }

    #[test]
    fn which_budget_was_exceeded_is_said_with_numbers() {
        let limits = LimitSettings { hits_per_second: 100, cpu_permille: 5, ..LimitSettings::default() };
        let at = Exceeded { cpu: 1, by_hits: true, hits: 101, run_ns: 9_000_000, within_ns: 12_000_000 };
        let spent = Spent { exceeded: Some(at), ..Spent::default() };
        let detail = |ending| match ending {
            Some(Ending::Limit { limit, found, allowed, detail }) => (limit, found, allowed, detail),
            other => panic!("{other:?}"),
        };
        let said = "101 hits within 12 ms on CPU 1, 100 per second are allowed";
        assert_eq!(detail(exceeded(spent, limits)), (Limit::HitsPerSecond, 101, 100, said.to_owned()));
        let spent = Spent { exceeded: Some(Exceeded { by_hits: false, ..at }), ..Spent::default() };
        let said = "programs took 9 ms within 12 ms on CPU 1, 5 ms per second are allowed";
        assert_eq!(detail(exceeded(spent, limits)), (Limit::CpuPermille, 9, 5, said.to_owned()));
        assert_eq!(exceeded(Spent::default(), limits), None);
    }
}
