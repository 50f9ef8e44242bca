//! What a run found, for a person and for a machine.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use synscope_bus::message::incident::{Cause, Incident, Recurrence};

/// One promise, and whether it was kept.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    name: String,
    passed: bool,
    expected: String,
    actual: String,
}

impl Check {
    /// `passed` is whether `actual` is what was `expected`.
    pub(crate) fn new(name: &str, passed: bool, expected: &str, actual: &str) -> Self {
        Self { name: name.to_owned(), passed, expected: expected.to_owned(), actual: actual.to_owned() }
    }

    /// Both must be the same.
    pub(crate) fn equal(name: &str, expected: &str, actual: &str) -> Self {
        Self::new(name, expected == actual, expected, actual)
    }

    /// What was promised.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was kept.
    #[cfg(test)]
    pub(crate) const fn passed(&self) -> bool {
        self.passed
    }
}

/// What became of the agents' events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Loss {
    /// Made in the kernel, by its own count.
    pub(crate) produced: u64,
    /// Read by a subscriber.
    pub(crate) delivered: u64,
    /// Lost and counted: by the kernel, by the agent, or as a gap in the numbers that the subscriber read.
    pub(crate) counted_lost: u64,
}

impl Loss {
    /// Delivered, or counted as lost.
    pub(crate) const fn accounted(&self) -> u64 {
        self.delivered + self.counted_lost
    }

    /// The promise about it. Events that a program held when it was killed are counted by nobody: `killed` asks only
    /// that none comes twice or from nowhere.
    pub(crate) fn check(&self, killed: bool) -> Check {
        let (accounted, produced) = (self.accounted(), self.produced);
        if killed {
            let actual = format!("{accounted}; {} died with the killed", produced.saturating_sub(accounted));
            let expected = format!("at most {produced}, as the kernels made");
            return Check::new("no event is told twice", accounted <= produced, &expected, &actual);
        }
        let kept = produced > 0 && accounted == produced;
        Check::new(
            "every event is delivered or counted as lost",
            kept,
            &format!("{produced}, as the kernels made"),
            &accounted.to_string(),
        )
    }
}

/// The run's outcome; its JSON is the lab's last line with `--json`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    scenario: String,
    passed: bool,
    checks: Vec<Check>,
    pub(crate) incident: Option<Incident>,
    timings_s: BTreeMap<String, f64>,
    pub(crate) loss: Loss,
}

impl Report {
    pub(crate) fn new(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            passed: true,
            checks: Vec::new(),
            incident: None,
            timings_s: BTreeMap::new(),
            loss: Loss::default(),
        }
    }

    pub(crate) fn check(&mut self, check: Check) {
        self.passed &= check.passed;
        self.checks.push(check);
    }

    pub(crate) fn timing(&mut self, name: &str, s: f64) {
        self.timings_s.insert(name.to_owned(), (s * 10.0).round() / 10.0);
    }

    pub(crate) const fn passed(&self) -> bool {
        self.passed
    }

    /// The report as a person wants to read it and, as the last line of all, for a machine.
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if let Some(incident) = &self.incident {
            print_incident(incident);
        }
        eprintln!("\nchecks of {}:", self.scenario);
        for check in &self.checks {
            let mark = if check.passed { "ok  " } else { "FAIL" };
            eprintln!("  {mark} {}: {} (expected {})", check.name, check.actual, check.expected);
        }
        let Loss { produced, delivered, counted_lost } = self.loss;
        eprintln!(
            "events of both nodes: {produced} made in the kernel, {delivered} delivered, {counted_lost} counted as lost"
        );
        if json {
            println!("{}", serde_json::to_string(self)?);
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Tells what happens now; standard output is for the result.
pub(crate) fn say(what: &str) {
    eprintln!("lab: {what}");
}

fn print_incident(incident: &Incident) {
    eprintln!("\n{} · {:?} · {}", incident.id, incident.state, incident.title);
    eprintln!("  {}", recurrence(&incident.recurrence));
    plot(incident);
    for cause in &incident.causes {
        print_cause(cause, "cause");
    }
    for cause in &incident.refuted {
        print_cause(cause, "not  ");
    }
    if let Some(fix) = &incident.fix {
        eprintln!("  fix:   {}", fix.summary);
        if let Some(call) = &fix.api_call {
            eprintln!("         {call}");
        }
        for advice in &fix.advice {
            eprintln!("         {}: {}", advice.owner, advice.command);
        }
    }
    for step in &incident.timeline {
        eprintln!("  {:>8} {:?}: {}", clock(incident, step.time_unix_ns), step.state, step.what);
    }
}

fn print_cause(cause: &Cause, label: &str) {
    let node = cause.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
    eprintln!("  {label}: {}{node} ({:?}, {:.2}): {}", cause.name, cause.finding, cause.score, cause.summary);
    for (sign, list) in [('+', &cause.evidence_for), ('-', &cause.evidence_against)] {
        for evidence in list {
            let baseline = evidence.baseline.map(|value| format!(" (otherwise {value:.2})")).unwrap_or_default();
            eprintln!("         {sign} {}: {:.2} {}{baseline}", evidence.name, evidence.value, evidence.unit);
        }
    }
}

fn recurrence(recurrence: &Recurrence) -> String {
    match recurrence {
        Recurrence::Regular { period_ns, spread_ns, spike_ns, cycles, cycles_expected, chance_per_million, .. } => {
            format!(
                "every {:.1} s ± {:.1}, {:.1} s long, {cycles} of {cycles_expected} cycles; chance does as well {chance_per_million} times in a million",
                seconds(*period_ns),
                seconds(*spread_ns),
                seconds(*spike_ns)
            )
        }
        Recurrence::Irregular { min_ns, max_ns, spike_ns, cycles } => format!(
            "irregular, every {:.1} to {:.1} s, {:.1} s long, {cycles} times",
            seconds(*min_ns),
            seconds(*max_ns),
            seconds(*spike_ns)
        ),
        Recurrence::Insufficient { cycles } => format!("{cycles} spikes are too few to tell a period"),
        Recurrence::None => "no period".to_owned(),
    }
}

/// Largest latency per column, on a logarithmic scale.
fn plot(incident: &Incident) {
    const COLUMNS: usize = 100;
    const LEVELS: [(u64, &str); 6] = [
        (3_000_000_000, "3 s"),
        (1_000_000_000, "1 s"),
        (300_000_000, "300 ms"),
        (30_000_000, "30 ms"),
        (3_000_000, "3 ms"),
        (0, "0"),
    ];
    let (Some(first), Some(last)) = (incident.series.first(), incident.series.last()) else { return };
    let span = (last.start_unix_ns - first.start_unix_ns).max(1);
    let mut columns = [None; COLUMNS];
    for point in &incident.series {
        let place = u128::from(point.start_unix_ns - first.start_unix_ns) * (COLUMNS as u128 - 1) / u128::from(span);
        if let Some(column) = usize::try_from(place).ok().and_then(|place| columns.get_mut(place)) {
            *column = (*column).max(point.max_ns);
        }
    }
    for (level, label) in LEVELS {
        let row: String =
            columns.iter().map(|max| if max.is_some_and(|max| max >= level) { '█' } else { ' ' }).collect();
        eprintln!("  {label:>6} │{}", row.trim_end());
    }
    eprintln!("         └{} {:.0} s", "─".repeat(COLUMNS), seconds(span));
}

/// Seconds since the first spike.
fn clock(incident: &Incident, at_unix_ns: u64) -> String {
    format!("+{:.1} s", seconds(at_unix_ns.saturating_sub(incident.first_seen_unix_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_neither_delivered_nor_counted_fails_the_run() {
        let check =
            |delivered, counted_lost, killed| Loss { produced: 10, delivered, counted_lost }.check(killed).passed;
        assert!(check(10, 0, false) && check(7, 3, false));
        assert!(!check(9, 0, false), "a subscriber missed one, and nobody counted it");
        assert!(!check(10, 1, false), "one was counted twice");
        assert!(check(9, 0, true) && !check(10, 1, true));
        assert!(!Loss::default().check(false).passed, "nothing happened");
    }
}
