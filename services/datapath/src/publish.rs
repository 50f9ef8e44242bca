//! From kernel records to messages: flow events, the slow ones apart, and edges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use synscope_abi::event::Event;
use synscope_bus::envelope::{EnvelopeError, PublisherId};
use synscope_bus::life::Life;
use synscope_bus::message::Message;
use synscope_bus::message::flow::{FlowBatch, FlowEvent, FlowKind};
use synscope_bus::outbox::Outbox;
use synscope_bus::subject::{EDGE_SHARDS, NodeId, Shard, Subject};

use crate::edges::Edges;
use crate::flow::{self, WallClock};
use crate::names::Names;

/// Events in one message: about 64 KiB.
const BATCH_EVENTS: usize = 128;
/// Longest wait of an event for its batch.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// What each subject may hold while NATS is away: these are kept for subscribers of now. A third of a second of
/// 200,000 events/s, so that a busy machine loses none.
const LIVE_BYTES: usize = 32 << 20;
/// What each subject may hold while NATS is away: evidence and edges.
const STORED_BYTES: usize = 16 << 20;
/// The same for each of the shards.
const SHARD_BYTES: usize = 2 << 20;

/// Events on their way into one outbox.
#[derive(Debug)]
struct Batch {
    outbox: Arc<Outbox>,
    /// Number of the first of `events`.
    first: u64,
    events: Vec<FlowEvent>,
}

/// All that a node tells about its flows.
#[derive(Debug)]
pub struct Publisher {
    node: NodeId,
    flows: Batch,
    slows: Batch,
    shards: Vec<Arc<Outbox>>,
    edges: Edges,
    bucket: Duration,
    batched: Instant,
    flushed: Instant,
    lost: u64,
    foreign: u64,
}

impl Publisher {
    /// Opens the outboxes; `life` sends what is put into them.
    pub fn new(life: &Life, publisher: &PublisherId, edges: Edges, bucket: Duration) -> Self {
        let node = publisher.node.clone();
        let open = |subject: Subject, bound| {
            let outbox = Outbox::new(&subject, publisher.clone(), bound);
            life.send(&outbox);
            outbox
        };
        let batch = |outbox| Batch { outbox, first: 1, events: Vec::with_capacity(BATCH_EVENTS) };
        let now = Instant::now();
        Self {
            flows: batch(open(Subject::Flow(node.clone()), LIVE_BYTES)),
            slows: batch(open(Subject::Slow(node.clone()), STORED_BYTES)),
            shards: (0..EDGE_SHARDS)
                .filter_map(Shard::new)
                .map(|shard| open(Subject::Edge(shard, node.clone()), SHARD_BYTES))
                .collect(),
            node,
            edges,
            bucket,
            batched: now,
            flushed: now,
            lost: 0,
            foreign: 0,
        }
    }

    /// Takes one record.
    pub fn take(&mut self, record: &Event, names: &Names, clock: WallClock) {
        self.edges.take(record, names, clock);
        let event = match flow::event(record, names, clock) {
            Ok(event) => event,
            Err(error) => {
                if self.foreign == 0 {
                    tracing::warn!(%error, "a kernel record is not understood");
                }
                self.foreign += 1;
                return;
            }
        };
        if is_evidence(&event, &self.edges) {
            self.slows.events.push(event.clone());
            self.send_if(BATCH_EVENTS);
        }
        self.flows.events.push(event);
        self.send_if(BATCH_EVENTS);
    }

    /// Sends what is due; `lost` are the records that the kernel could not hand over so far.
    pub fn tick(&mut self, now: Instant, lost: u64) {
        if now.duration_since(self.batched) >= BATCH_AGE {
            self.batched = now;
            self.lost = lost;
            self.send_if(1);
        }
        if now.duration_since(self.flushed) >= self.bucket {
            self.flushed = now;
            self.flush_edges();
        }
    }

    /// Sends all there is.
    pub fn finish(&mut self) {
        self.send_if(1);
        self.flush_edges();
    }

    /// Records that no edge was left for, and records not understood.
    pub const fn counts(&self) -> (u64, u64) {
        (self.edges.refused(), self.foreign)
    }

    fn flush_edges(&mut self) {
        for (shard, batch) in self.edges.flush() {
            if let Some(outbox) = self.shards.get(usize::from(shard.number())) {
                put(outbox, &batch);
            }
        }
    }

    /// Sends each batch of at least `least` events.
    fn send_if(&mut self, least: usize) {
        for batch in [&mut self.flows, &mut self.slows] {
            if batch.events.len() >= least {
                let events = std::mem::replace(&mut batch.events, Vec::with_capacity(BATCH_EVENTS));
                let first = batch.first;
                batch.first += events.len() as u64;
                put(&batch.outbox, &FlowBatch { node: self.node.to_string(), first, events, lost: self.lost });
            }
        }
    }
}

/// Puts a message in, or says why it cannot be written.
pub fn put<M: Message>(outbox: &Outbox, message: &M) {
    let written: Result<(), EnvelopeError> = outbox.put(message);
    if let Err(error) = written {
        tracing::error!(subject = outbox.subject(), error = &error as &dyn std::error::Error, "a message is lost");
    }
}

/// Slow, retried, refused and failed: what an incident is explained with.
fn is_evidence(event: &FlowEvent, edges: &Edges) -> bool {
    match event.kind {
        FlowKind::Established => {
            event.syn_retries > 0 || event.server_latency_ns.is_some_and(|latency| edges.is_slow(latency))
        }
        FlowKind::Dropped
        | FlowKind::Denied
        | FlowKind::Refused
        | FlowKind::PendingExpired
        | FlowKind::Expired
        | FlowKind::Abandoned => true,
        _ => false,
    }
}
