//! Tracers as the engine meets them: what they do when a probe is asked for, and what it would see.

use std::collections::BTreeMap;

use synscope_bus::message::trace::{Ending, Limit, TraceBatch, TraceLosses, TraceState};
use synscope_bus::snapshot::{Entry, Held, Histogram, Snapshot, Value};
use synscope_engine::engine::Engine;
use synscope_engine::probe::{Kind, Request};

use crate::world::S;

/// What the tracers of the world do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracing {
    /// The analyzer may not ask.
    Off,
    /// There is none.
    Absent,
    /// They see what is dropped everywhere at all times, and nothing that has to do with a fault.
    Usual,
    /// In the spikes, a node also drops for this reason.
    DropsInSpikes(&'static str, &'static str),
    /// Outside of the spikes, it does so.
    DropsOutside(&'static str, &'static str),
    /// It does so at all times.
    DropsAlways(&'static str, &'static str),
    /// In the spikes it drops one such packet now and then.
    DropsFew(&'static str, &'static str),
    /// Their probes exceed a limit after some seconds.
    EndEarly,
    /// Their probes lose output.
    Lose,
    /// Their probes never tell that they have ended.
    FallSilent,
}

/// Counts of one node, by reason and function or by range.
type Counts = BTreeMap<(&'static str, u32), u64>;

/// Seconds until a probe exceeds its limit.
const EARLY_S: u64 = 20;

/// Plays the tracers' part.
#[derive(Debug)]
pub(crate) struct Tracers {
    tracing: Tracing,
    pub(crate) asked: Vec<Request>,
    running: Vec<(Request, BTreeMap<String, Counts>)>,
}

impl Tracers {
    pub(crate) fn new(tracing: Tracing, engine: &mut Engine) -> Self {
        if tracing != Tracing::Off {
            engine.permit_probes();
        }
        Self { tracing, asked: Vec::new(), running: Vec::new() }
    }

    /// Starts what is asked for.
    pub(crate) fn start(&mut self, engine: &mut Engine) {
        for request in engine.requests() {
            self.asked.push(request.clone());
            if self.tracing == Tracing::Absent {
                for node in &request.nodes {
                    engine.no_trace(&request.trace, node, "no tracer answers for this node");
                }
                continue;
            }
            let counts = request.nodes.iter().map(|node| (node.clone(), Counts::default())).collect();
            let attached = |node: &String| batch(&request, node, request.from_unix_ns, None);
            request.nodes.iter().for_each(|node| engine.trace(&attached(node)));
            self.running.push((request, counts));
        }
    }

    /// A second of the world.
    pub(crate) fn second(&mut self, engine: &mut Engine, now: u64, spiking: bool) {
        let tracing = self.tracing;
        for (request, nodes) in &mut self.running {
            let ending = if now >= request.until_unix_ns {
                Some(Ending::Duration)
            } else if tracing == Tracing::EndEarly && now >= request.from_unix_ns + EARLY_S * S {
                let detail = "70000 hits per second, 50000 are allowed".to_owned();
                Some(Ending::Limit { limit: Limit::HitsPerSecond, found: 70_000, allowed: 50_000, detail })
            } else {
                None
            };
            for (node, counts) in nodes {
                count(tracing, request.kind, node, counts, now / S, spiking);
                let mut batch = batch(request, node, now, Some(maps(request.kind, counts)));
                if tracing == Tracing::Lose {
                    batch.losses = TraceLosses { values: 3, ..TraceLosses::default() };
                }
                if let Some(ending) = &ending {
                    if tracing == Tracing::FallSilent {
                        continue;
                    }
                    batch.state = TraceState::Ended { ending: ending.clone() };
                }
                engine.trace(&batch);
            }
            if ending.is_some() {
                request.until_unix_ns = 0;
            }
        }
        self.running.retain(|(request, _)| request.until_unix_ns > 0);
    }
}

fn count(tracing: Tracing, kind: Kind, node: &str, counts: &mut Counts, second: u64, spiking: bool) {
    let mut add = |what, by| *counts.entry(what).or_default() += by;
    if kind == Kind::ConnectLatency {
        // 2^9 and 2^19 µs: the world's delay is 520 ms.
        add(("", 11), 4);
        add(("", 20), u64::from(spiking));
        return;
    }
    // Unix sockets that close, and segments of connections that suffer.
    add(("NOT_SPECIFIED", 0), 2);
    add(("TCP_OLD_DATA", 0), if spiking { 9 } else { 1 });
    add(("OTHERHOST", 0), if spiking { 9 } else { 0 });
    let (reason, by) = match tracing {
        Tracing::DropsInSpikes(on, reason) if on == node => (reason, if spiking { 5 } else { 0 }),
        Tracing::DropsOutside(on, reason) if on == node => (reason, if spiking { 0 } else { 5 }),
        Tracing::DropsAlways(on, reason) if on == node => (reason, 5),
        Tracing::DropsFew(on, reason) if on == node => (reason, u64::from(spiking && second.is_multiple_of(30))),
        _ => return,
    };
    add((reason, 1), by);
}

fn maps(kind: Kind, counts: &Counts) -> Vec<Snapshot> {
    let text = |text: String| Value::Text(text);
    let map = match kind {
        Kind::Drops => {
            let key = |(reason, function): &(&str, u32)| {
                Some(Value::Tuple(vec![
                    text(format!("SKB_DROP_REASON_{reason}")),
                    text(format!("function_{function}")),
                ]))
            };
            let entries = counts.iter().map(|(what, count)| Entry { key: key(what), value: *count }).collect();
            Snapshot { name: "drops".into(), held: Held::Count { entries }, left_out: 0 }
        }
        Kind::ConnectLatency => {
            let value = Histogram::new(counts.iter().map(|((_, range), count)| (*range, *count)));
            let entries = vec![Entry { key: Some(Value::Number(80_u64.into())), value }];
            Snapshot { name: "connected_us".into(), held: Held::Log2 { bits: 0, entries }, left_out: 0 }
        }
    };
    vec![map]
}

fn batch(request: &Request, node: &str, now: u64, maps: Option<Vec<Snapshot>>) -> TraceBatch {
    TraceBatch {
        node: node.into(),
        trace: request.trace.clone(),
        time_unix_ns: now,
        state: TraceState::Running,
        maps,
        ..TraceBatch::default()
    }
}
