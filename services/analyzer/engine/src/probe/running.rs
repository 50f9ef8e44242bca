//! Probes that run just now, and how many may.

use std::collections::{BTreeMap, VecDeque};

use synscope_bus::message::trace::TraceBatch;

use super::{Request, Watch};
use crate::scale::Scale;

/// Probes that run at once; one for each incident.
const RUNNING_MAX: usize = 4;
/// Probes that are started in an hour.
const PER_HOUR: usize = 6;
/// What comes later than that after a probe's end does not come. Not scaled. ns
const GRACE_NS: u64 = 10_000_000_000;

/// A probe whose last word is there, or will not come.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) incident: String,
    pub(crate) watches: Vec<Watch>,
}

/// One that runs.
#[derive(Debug)]
struct Active {
    incident: String,
    until_unix_ns: u64,
    /// By node; whether it has ended there.
    watches: BTreeMap<String, (Watch, bool)>,
}

/// Those that run, and when the latest were started.
#[derive(Debug, Default)]
pub(crate) struct Running {
    active: BTreeMap<String, Active>,
    started_unix_ns: VecDeque<u64>,
    /// By incident, until when it is told already that there was no turn for it.
    denied: BTreeMap<String, u64>,
    denied_count: u64,
}

impl Running {
    /// Whether this incident's runs.
    pub(crate) fn has(&self, incident: &str) -> bool {
        self.active.values().any(|active| active.incident == incident)
    }

    /// Whether there is a turn for one more; what there is none for is counted once.
    pub(crate) fn admit(&mut self, request: &Request, scale: &Scale) -> bool {
        let now = request.from_unix_ns;
        let hour_ns = scale.history_ns / 2;
        self.started_unix_ns.retain(|started| started + hour_ns > now);
        self.denied.retain(|_, until| *until > now);
        let is_admitted = self.active.len() < RUNNING_MAX && self.started_unix_ns.len() < PER_HOUR;
        if is_admitted {
            self.started_unix_ns.push_back(now);
            let watch = |node: &String| (node.clone(), (Watch::new(request, node), false));
            let active = Active {
                incident: request.incident.clone(),
                until_unix_ns: request.until_unix_ns,
                watches: request.nodes.iter().map(watch).collect(),
            };
            self.active.insert(request.trace.clone(), active);
        } else if self.denied.insert(request.incident.clone(), request.until_unix_ns).is_none() {
            self.denied_count += 1;
        }
        is_admitted
    }

    /// Takes what a trace told on one node.
    pub(crate) fn take(&mut self, batch: &TraceBatch) {
        if let Some((watch, has_ended)) = self.watch(&batch.trace, &batch.node) {
            *has_ended |= watch.take(batch);
        }
    }

    /// It does not run on this node, or not any more.
    pub(crate) fn break_off(&mut self, trace: &str, node: &str, why: &str) {
        if let Some((watch, has_ended)) = self.watch(trace, node) {
            watch.break_off(why);
            *has_ended = true;
        }
    }

    fn watch(&mut self, trace: &str, node: &str) -> Option<&mut (Watch, bool)> {
        self.active.get_mut(trace)?.watches.get_mut(node).filter(|(_, has_ended)| !has_ended)
    }

    /// Those that have ended everywhere since the last time, or are given up.
    pub(crate) fn finished(&mut self, now_unix_ns: u64) -> Vec<Finished> {
        let over = |active: &mut Active| {
            let is_late = active.until_unix_ns + GRACE_NS <= now_unix_ns;
            is_late || active.watches.values().all(|(_, has_ended)| *has_ended)
        };
        let over = self.active.extract_if(.., |_, active| over(active));
        let finished = over.map(|(_, active)| {
            let watches = active.watches.into_values().map(|(mut watch, has_ended)| {
                if !has_ended {
                    watch.break_off("its end was not told");
                }
                watch
            });
            Finished { incident: active.incident, watches: watches.collect() }
        });
        finished.collect()
    }

    /// Probes that there was no turn for.
    pub(crate) const fn denied_count(&self) -> u64 {
        self.denied_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Kind;

    const S: u64 = 1_000_000_000;

    fn request(incident: u64, at_s: u64) -> Request {
        Request {
            trace: format!("{incident}-{at_s}"),
            incident: incident.to_string(),
            kind: Kind::Drops,
            port: None,
            nodes: ["a".to_owned()].into(),
            from_unix_ns: at_s * S,
            until_unix_ns: (at_s + 60) * S,
            why: String::new(),
        }
    }

    #[test]
    fn few_run_at_once_few_begin_in_an_hour_and_the_rest_is_counted_once() {
        let scale = Scale::new(1.0);
        let mut running = Running::default();
        let admitted = |running: &mut Running, at_s| {
            (0..10).filter(|incident| running.admit(&request(*incident, at_s), &scale)).count()
        };
        assert_eq!((admitted(&mut running, 1000), running.denied_count()), (RUNNING_MAX, 6));
        assert!(running.has("0") && !running.has("9"));
        // The same that there was no turn for, again.
        assert!(!running.admit(&request(9, 1010), &scale));
        assert_eq!(running.denied_count(), 6);
        // All are over, and two more are in the hour.
        assert_eq!(running.finished(1060 * S).len(), 0);
        assert_eq!(running.finished(1070 * S).len(), RUNNING_MAX);
        assert_eq!(admitted(&mut running, 1100), PER_HOUR - RUNNING_MAX);
        assert_eq!(running.finished(2000 * S).len(), PER_HOUR - RUNNING_MAX);
        assert_eq!(admitted(&mut running, 4599), 0);
        assert_eq!(admitted(&mut running, 4601), RUNNING_MAX);
    }

    #[test]
    fn what_nobody_asked_for_is_not_taken() {
        let mut running = Running::default();
        assert!(running.admit(&request(1, 1000), &Scale::new(1.0)));
        running.take(&TraceBatch { trace: "other".into(), node: "a".into(), ..TraceBatch::default() });
        running.break_off("1-1000", "b", "not asked there");
        assert!(running.finished(1010 * S).is_empty());
        running.break_off("1-1000", "a", "no tracer");
        assert_eq!(running.finished(1010 * S).len(), 1);
    }
}
