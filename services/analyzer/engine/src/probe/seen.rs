//! What a probe saw on a node, second by second, and how much more of it there was in the spikes.

use std::collections::{BTreeMap, VecDeque};

use synscope_bus::message::incident::{Measured, ProbeOutcome, Spike};
use synscope_bus::message::trace::{Ending, TraceBatch, TraceLosses, TraceState};
use synscope_bus::snapshot::Snapshot;

use super::read::counted;
use super::{Kind, Request, What};
use crate::nodes::SLACK_NS;
use crate::scale::Scale;

/// Readings of one probe on one node: one a second, and a probe runs fifteen minutes at most.
const READINGS_MAX: usize = 4096;
/// Different things that one probe counts on one node.
const COUNTS_MAX: usize = 1024;
/// Watches that are remembered, of all nodes and probes.
const WATCHES_MAX: usize = 128;
/// A spike is covered when the probe saw half of it, or so many buckets.
const COVERED_BUCKETS: u64 = 3;

/// How often, in the spikes and otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// In the spikes.
    pub inside: u64,
    /// In all the rest of what the probe saw.
    pub outside: u64,
    /// What the spikes have more than the rest in as long a time.
    pub beyond: u64,
}

impl Counted {
    /// At least twice as often as otherwise: what is as often without a spike is no evidence.
    pub const fn is_unusual(self) -> bool {
        self.beyond > 0 && self.beyond * 2 >= self.inside
    }
}

/// What one probe saw on one node, beside the spikes that it covered.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The node.
    pub node: String,
    /// Which trace it was, and which seconds it covered.
    pub measured: Measured,
    /// Of each spike, how much of it was covered, of a thousand.
    pub covered_per_mille: Vec<u64>,
    /// What it counted.
    pub counts: Vec<(What, Counted)>,
}

/// One probe on one node, as it tells.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    kind: Kind,
    node: String,
    trace: String,
    asked_unix_ns: u64,
    /// Times of its readings, Unix ns, ascending.
    readings: Vec<u64>,
    counts: BTreeMap<What, Count>,
    losses: TraceLosses,
    left_out: u64,
    /// Why it did not begin, or not go on.
    broke_off: Option<String>,
}

/// One number as it grew.
#[derive(Debug, Clone, Default)]
struct Count {
    latest: u64,
    /// The reading by which it had grown, and by how much.
    grew: Vec<(usize, u64)>,
}

impl Watch {
    pub(crate) fn new(request: &Request, node: &str) -> Self {
        Self {
            kind: request.kind,
            node: node.to_owned(),
            trace: request.trace.clone(),
            asked_unix_ns: request.from_unix_ns,
            readings: Vec::new(),
            counts: BTreeMap::new(),
            losses: TraceLosses::default(),
            left_out: 0,
            broke_off: None,
        }
    }

    /// Takes what the trace told; whether it has ended.
    pub(crate) fn take(&mut self, batch: &TraceBatch) -> bool {
        self.losses = batch.losses;
        let has_ended = match &batch.state {
            TraceState::Ended { ending: Ending::Duration | Ending::Stopped } => true,
            TraceState::Ended { ending } => {
                self.break_off(&format!("it ended early: {}", ending_in_words(ending)));
                true
            }
            TraceState::Starting | TraceState::Running | TraceState::Unknown => false,
        };
        let is_later = self.readings.last().is_none_or(|latest| batch.time_unix_ns > *latest);
        if is_later && self.readings.len() < READINGS_MAX {
            // What it tells first, without maps, is that it is attached: nothing is counted yet.
            if let Some(maps) = &batch.maps {
                self.read(batch.time_unix_ns, maps);
            } else if self.readings.is_empty() && !has_ended {
                self.readings.push(batch.time_unix_ns);
            }
        }
        has_ended
    }

    /// It does not go on; the first reason counts.
    pub(crate) fn break_off(&mut self, why: &str) {
        self.broke_off.get_or_insert_with(|| why.to_owned());
    }

    fn read(&mut self, at: u64, maps: &[Snapshot]) {
        self.readings.push(at);
        let reading = self.readings.len() - 1;
        self.left_out = self.left_out.max(maps.iter().map(|map| map.left_out).sum());
        let mut told: BTreeMap<What, u64> = BTreeMap::new();
        for (what, count) in maps.iter().flat_map(|map| counted(self.kind, map)) {
            *told.entry(what).or_default() += count;
        }
        for (what, value) in told {
            if self.counts.len() >= COUNTS_MAX && !self.counts.contains_key(&what) {
                self.left_out += 1;
                continue;
            }
            let count = self.counts.entry(what).or_default();
            if value > count.latest && reading == 0 {
                // Since when is not known.
                count.latest = value;
            } else if value > count.latest {
                count.grew.push((reading, value - count.latest));
                count.latest = value;
            }
        }
    }

    /// What it saw beside these spikes, or why that says nothing.
    fn judge(&self, spikes: &[Spike], scale: &Scale) -> Result<Seen, String> {
        let broke_off = |why: &str| self.broke_off.clone().unwrap_or_else(|| why.to_owned());
        let (Some(from), Some(to)) = (self.readings.first().copied(), self.readings.last().copied()) else {
            return Err(broke_off("it told nothing"));
        };
        let TraceLosses { records, values, hits, cut } = self.losses;
        let lost = records + values + hits + cut;
        if lost + self.left_out > 0 {
            return Err(format!(
                "it lost output: {lost} records, values, hits or lines, and {} entries",
                self.left_out
            ));
        }
        let covered_per_mille: Vec<u64> = spikes.iter().map(|spike| covered(spike, from, to, scale)).collect();
        if covered_per_mille.iter().all(|share| *share == 0) {
            return Err(broke_off("it covered no spike"));
        }
        let steps: Vec<Step> = self.readings.windows(2).map(|pair| step(spikes, pair[0], pair[1], scale)).collect();
        let length = |of: Step| {
            let lengths = self.readings.windows(2).map(|pair| pair[1] - pair[0]);
            lengths.zip(&steps).filter(|(_, step)| **step == of).map(|(length, _)| length).sum::<u64>()
        };
        let (inside_ns, outside_ns) = (length(Step::Inside), length(Step::Outside));
        // A rate of too few seconds is none.
        if outside_ns < SLACK_NS || outside_ns * 4 < inside_ns {
            return Err(broke_off("it saw too few seconds outside of the spikes to compare with"));
        }
        let counts = self.counts.iter().map(|(what, count)| {
            let mut counted = Counted::default();
            for (reading, by) in &count.grew {
                match reading.checked_sub(1).and_then(|step| steps.get(step)) {
                    Some(Step::Inside) => counted.inside += by,
                    Some(Step::Outside) => counted.outside += by,
                    Some(Step::Astride) | None => {}
                }
            }
            let usual = u128::from(counted.outside) * u128::from(inside_ns) / u128::from(outside_ns);
            counted.beyond = counted.inside.saturating_sub(u64::try_from(usual).unwrap_or(u64::MAX));
            (what.clone(), counted)
        });
        let measured = Measured {
            probe: self.kind.name().to_owned(),
            trace: self.trace.clone(),
            from_unix_ns: from,
            to_unix_ns: to,
        };
        Ok(Seen { node: self.node.clone(), measured, covered_per_mille, counts: counts.collect() })
    }

    /// What became of it, for people.
    fn outcome(&self, spikes: &[Spike], scale: &Scale) -> ProbeOutcome {
        match self.judge(spikes, scale) {
            Ok(seen) => {
                let covered = seen.covered_per_mille.iter().filter(|share| **share > 0).count();
                let Measured { from_unix_ns, to_unix_ns, .. } = seen.measured;
                ProbeOutcome::Observed { from_unix_ns, to_unix_ns, spikes: u32::try_from(covered).unwrap_or(u32::MAX) }
            }
            Err(reason) => ProbeOutcome::NotObserved { reason },
        }
    }
}

/// All that probes saw, of all nodes, once they have ended; the oldest go first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seens(VecDeque<Watch>);

impl Seens {
    pub(crate) fn add(&mut self, watch: Watch) {
        self.0.push_back(watch);
        while self.0.len() > WATCHES_MAX {
            self.0.pop_front();
        }
    }

    /// What a probe saw on a node beside these spikes, the latest that says anything, else why the latest does not; none
    /// where it never ran.
    pub(crate) fn of(&self, kind: Kind, node: &str, spikes: &[Spike], scale: &Scale) -> Option<Result<Seen, String>> {
        let mut judged = self.0.iter().rev().filter(|watch| watch.kind == kind && watch.node == node);
        let latest = judged.next()?.judge(spikes, scale);
        if latest.is_ok() {
            return Some(latest);
        }
        Some(judged.find_map(|watch| watch.judge(spikes, scale).ok()).map_or(latest, Ok))
    }

    /// What became of a trace on a node; none where it is not remembered.
    pub(crate) fn outcome(&self, trace: &str, node: &str, spikes: &[Spike], scale: &Scale) -> Option<ProbeOutcome> {
        let watch = self.0.iter().find(|watch| watch.trace == trace && watch.node == node)?;
        Some(watch.outcome(spikes, scale))
    }

    /// Forgets what was asked for before then.
    pub(crate) fn retire(&mut self, since_unix_ns: u64) {
        self.0.retain(|watch| watch.asked_unix_ns >= since_unix_ns);
    }
}

/// Where the time between two readings lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Inside,
    Outside,
    /// Partly in a spike, and so long (messages were lost) that it is not known when anything grew.
    Astride,
}

fn step(spikes: &[Spike], from: u64, to: u64, scale: &Scale) -> Step {
    let ends = |spike: &Spike| (spike.start_unix_ns, spike.end_unix_ns + SLACK_NS);
    let meets = spikes.iter().map(ends).filter(|(start, end)| *start < to && from < *end);
    let is_short = to - from <= scale.bucket_ns.max(2 * SLACK_NS);
    let mut meets = meets.map(|(start, end)| is_short || (start <= from && to <= end)).peekable();
    match meets.peek() {
        None => Step::Outside,
        Some(_) => {
            if meets.any(|is_known| is_known) {
                Step::Inside
            } else {
                Step::Astride
            }
        }
    }
}

/// How much of a spike is between two times, of a thousand; 0 where it is too little to speak for it.
fn covered(spike: &Spike, from: u64, to: u64, scale: &Scale) -> u64 {
    let length = (spike.end_unix_ns - spike.start_unix_ns).max(1);
    let shared = to.min(spike.end_unix_ns).saturating_sub(from.max(spike.start_unix_ns));
    let is_covered = shared * 2 >= length || shared >= COVERED_BUCKETS * scale.bucket_ns;
    if is_covered { u64::try_from(u128::from(shared) * 1000 / u128::from(length)).unwrap_or(1000).max(1) } else { 0 }
}

fn ending_in_words(ending: &Ending) -> String {
    match ending {
        Ending::Limit { detail, .. } => detail.clone(),
        Ending::Failed { reason } => reason.clone(),
        other => other.why().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use synscope_bus::snapshot::{Entry, Held, Value};

    use super::*;

    const S: u64 = 1_000_000_000;

    fn watch(kind: Kind) -> Watch {
        let request = Request {
            trace: "t".into(),
            incident: "i".into(),
            kind,
            port: None,
            nodes: BTreeSet::new(),
            from_unix_ns: 0,
            until_unix_ns: 0,
            why: String::new(),
        };
        Watch::new(&request, "a")
    }

    fn told(at_s: u64, maps: Option<Vec<Snapshot>>) -> TraceBatch {
        TraceBatch { time_unix_ns: at_s * S, state: TraceState::Running, maps, ..TraceBatch::default() }
    }

    fn drops(count: u64) -> Vec<Snapshot> {
        let key = Value::Tuple(vec![Value::Text("SKB_DROP_REASON_XDP".into()), Value::Text("f".into())]);
        let held = Held::Count { entries: vec![Entry { key: Some(key), value: count }] };
        vec![Snapshot { name: "drops".into(), held, left_out: 0 }]
    }

    fn spike(from_s: u64, to_s: u64) -> Spike {
        Spike { start_unix_ns: from_s * S, end_unix_ns: to_s * S, ..Spike::default() }
    }

    #[test]
    fn what_grew_in_a_spike_is_told_from_what_grew_outside() {
        let mut watch = watch(Kind::Drops);
        assert!(!watch.take(&told(100, None)));
        let mut sum = 0;
        for at in (110..=220).step_by(10) {
            sum += if (170..=190).contains(&at) { 30 } else { 10 };
            watch.take(&told(at, Some(drops(sum))));
            // What comes twice, or too late, is taken once.
            watch.take(&told(at - 5, Some(drops(999))));
        }
        // The second after a spike's end counts as its own.
        let counted = Counted { inside: 100, outside: 80, beyond: 60 };
        let counts = |watch: &Watch| watch.judge(&[spike(10, 60), spike(160, 190)], &Scale::new(1.0)).unwrap();
        let seen = counts(&watch);
        assert_eq!(seen.counts, [(What::Dropped { reason: "XDP".into(), function: "f".into() }, counted)]);
        assert_eq!(seen.covered_per_mille, [0, 1000]);
        assert!(counted.is_unusual() && !Counted { inside: 91, outside: 270, beyond: 1 }.is_unusual());
    }

    #[test]
    fn what_grew_while_nothing_was_heard_is_neither_inside_nor_outside() {
        let mut watch = watch(Kind::Drops);
        watch.take(&told(100, None));
        for (at, sum) in [(110, 1), (160, 1000), (165, 1003), (200, 2000), (210, 2001)] {
            watch.take(&told(at, Some(drops(sum))));
        }
        let seen = watch.judge(&[spike(120, 170)], &Scale::new(1.0)).unwrap();
        assert_eq!(seen.counts[0].1, Counted { inside: 3, outside: 2, beyond: 3 });
    }

    #[test]
    fn what_cannot_be_compared_says_nothing() {
        let scale = Scale::new(1.0);
        let mut watch = watch(Kind::Drops);
        assert_eq!(watch.judge(&[spike(0, 1000)], &scale).unwrap_err(), "it told nothing");
        (100..160).for_each(|at| {
            watch.take(&told(at, Some(drops(at))));
        });
        assert!(watch.judge(&[spike(0, 1000)], &scale).unwrap_err().contains("too few seconds outside"));
        assert_eq!(watch.judge(&[spike(155, 300)], &scale).unwrap_err(), "it covered no spike");
        assert!(watch.judge(&[spike(130, 140)], &scale).is_ok());
        // The first reason counts.
        watch.break_off("no tracer");
        watch.break_off("another");
        assert_eq!(watch.judge(&[spike(155, 300)], &scale).unwrap_err(), "no tracer");
        let left_out = drops(99).into_iter().map(|map| Snapshot { left_out: 2, ..map }).collect();
        watch.take(&told(170, Some(left_out)));
        assert!(watch.judge(&[spike(130, 140)], &scale).unwrap_err().ends_with("and 2 entries"));
    }
}
