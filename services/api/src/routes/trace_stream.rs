//! A trace as it goes on: lines as they come, the maps of all nodes as one each second. As long as somebody reads, the
//! trace's lease is renewed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::response::sse::Event;
use futures::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::command::tracer::{GetResults, RenewTrace};
use synscope_bus::inbox::Inbox;
use synscope_bus::message::trace::{Ending, Line, TraceBatch, TraceLosses, TraceState};
use synscope_bus::reasons::reasons;
use synscope_bus::snapshot::{Merged, Snapshot, merge};
use synscope_bus::subject::{TraceId, Wildcard};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::stream::Events;
use super::traces::{LEASE_MS, NodeLine, everywhere, id, lines};
use crate::app::App;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::Call;
use crate::tracers;

/// Between two looks at whether maps have changed.
const MAPS: Duration = Duration::from_secs(1);
/// Between two renewals: some may fail before the lease is over.
const RENEW: Duration = Duration::from_millis(LEASE_MS / 4);

/// All maps as they stand.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TraceMaps {
    /// Those of all nodes as one.
    pub maps: Vec<Merged>,
}

/// Lines that did not come.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LinesMissed {
    /// The node that wrote them.
    pub node: String,
    /// How many.
    pub missed: u64,
}

/// A node on which the trace has ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NodeEnded {
    /// The node.
    pub node: String,
    /// Why.
    pub ending: Ending,
    /// What was lost there.
    pub losses: TraceLosses,
}

/// What the stream tells; the event's name tells which.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TraceEvent {
    /// `line`
    Line(NodeLine),
    /// `maps`
    Maps(TraceMaps),
    /// `missed`
    Missed(LinesMissed),
    /// `ended`
    Ended(NodeEnded),
}

impl TraceEvent {
    const fn name(&self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::Maps(_) => "maps",
            Self::Missed(_) => "missed",
            Self::Ended(_) => "ended",
        }
    }
}

/// `GET /v1/traces/{id}/stream`.
pub async fn stream(call: Call, _: Nothing) -> Result<Events<TraceEvent>, Problem> {
    let trace = id(&call)?;
    let subject = Wildcard::Trace(trace.clone()).to_string();
    // First this, so that nothing is missed between what is known and what comes.
    let subscribed = call.app.nats()?.client().subscribe(subject).await;
    let messages = subscribed.map_err(|error| Problem::unavailable(reasons(&error)))?;
    let mut follow = Follow::new(call.app.clone(), trace.clone(), messages);
    for (node, answer) in everywhere(&call, &GetResults { trace: trace.to_string() }).await? {
        let Ok(results) = answer else { continue };
        let (status, maps) = (results.status, Some(results.maps));
        follow.take(&node, results.first, results.lines, maps, &status.state, status.losses);
    }
    if follow.nodes.is_empty() {
        return Err(Problem::not_found(format!("no tracer has a trace {:?}", trace.as_str())));
    }
    let events = futures::stream::unfold(follow, async |mut follow| {
        let event = follow.next().await?;
        Some((Event::default().event(event.name()).json_data(event), follow))
    });
    Ok(Events::of(&call.app, events))
}

/// What is known of one node.
#[derive(Debug, Default)]
struct Node {
    /// Lines that were told, or missed.
    told: u64,
    maps: Vec<Snapshot>,
    ended: bool,
}

/// A trace that is followed.
struct Follow {
    app: App,
    trace: TraceId,
    messages: async_nats::Subscriber,
    inbox: Inbox,
    nodes: BTreeMap<String, Node>,
    waiting: VecDeque<TraceEvent>,
    /// Whether maps have changed since they were told.
    changed: bool,
    ticks: Interval,
    renewed: Instant,
}

impl Follow {
    fn new(app: App, trace: TraceId, messages: async_nats::Subscriber) -> Self {
        let mut ticks = interval(MAPS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            app,
            trace,
            messages,
            inbox: Inbox::default(),
            nodes: BTreeMap::new(),
            waiting: VecDeque::new(),
            changed: false,
            ticks,
            renewed: Instant::now(),
        }
    }

    /// What there is to tell next; none once the trace has ended on all nodes.
    async fn next(&mut self) -> Option<TraceEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.nodes.values().all(|node| node.ended) {
                return self.maps();
            }
            tokio::select! {
                message = self.messages.next() => {
                    let message = message?;
                    let Some(received) = self.inbox.read::<TraceBatch>(&message) else { continue };
                    let TraceBatch { node, state, first, lines, maps, losses, .. } = received.message;
                    self.take(&node, first, lines, maps, &state, losses);
                }
                _ = self.ticks.tick() => {
                    if self.renewed.elapsed() >= RENEW {
                        self.renew().await;
                    }
                    if let Some(maps) = self.maps() {
                        return Some(maps);
                    }
                }
            }
        }
    }

    /// What a node told: of its lines, those that are new.
    fn take(
        &mut self,
        name: &str,
        first: u64,
        written: Vec<Line>,
        maps: Option<Vec<Snapshot>>,
        state: &TraceState,
        losses: TraceLosses,
    ) {
        let node = self.nodes.entry(name.to_owned()).or_default();
        let last = first.saturating_add(written.len() as u64).saturating_sub(1);
        if first > node.told + 1 && !written.is_empty() {
            let missed = first - node.told - 1;
            self.waiting.push_back(TraceEvent::Missed(LinesMissed { node: name.to_owned(), missed }));
        }
        let new = lines(name, first, written).filter(|line| line.number > node.told);
        self.waiting.extend(new.map(TraceEvent::Line));
        node.told = node.told.max(last);
        if let Some(maps) = maps {
            node.maps = maps;
            self.changed = true;
        }
        if let (TraceState::Ended { ending }, false) = (state, node.ended) {
            node.ended = true;
            let ended = NodeEnded { node: name.to_owned(), ending: ending.clone(), losses };
            self.waiting.push_back(TraceEvent::Ended(ended));
        }
    }

    /// The maps of all nodes, if they are not told yet.
    fn maps(&mut self) -> Option<TraceEvent> {
        let all =
            |(name, node): (&String, &Node)| node.maps.iter().map(|map| map.clone().of_node(name)).collect::<Vec<_>>();
        std::mem::take(&mut self.changed)
            .then(|| TraceEvent::Maps(TraceMaps { maps: merge(self.nodes.iter().flat_map(all)) }))
    }

    /// Renews the lease where the trace runs; a node whose tracer is gone, or knows nothing of it any more, has ended it.
    async fn renew(&mut self) {
        self.renewed = Instant::now();
        let running = self.nodes.iter().filter(|(_, node)| !node.ended).map(|(name, _)| name.clone()).collect();
        let question = RenewTrace { trace: self.trace.to_string() };
        // While NATS is away, nobody can be asked, and the tracers know that, too.
        let Ok(answers) = tracers::ask_each(&self.app, running, &question).await else { return };
        for (node, answer) in answers {
            use synscope_bus::command::CommandError::{Nobody, Refused};
            if let Err(error @ (Nobody { .. } | Refused(_))) = answer {
                let ending = Ending::Failed { reason: reasons(&error) };
                let told = self.nodes.get(&node).map_or(0, |node| node.told);
                self.take(&node, told + 1, Vec::new(), None, &TraceState::Ended { ending }, TraceLosses::default());
            }
        }
    }
}
