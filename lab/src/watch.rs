//! What an outsider on NATS gets to see: every event counted, and edges and signals recorded for replays.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use async_nats::{Subscriber, jetstream};
use futures::StreamExt;
use serde::Serialize;
use serde_json::json;
use synscope_bus::command::{ask, datapath::GetStatus};
use synscope_bus::connection::Connection;
use synscope_bus::inbox::Inbox;
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::flow::{FlowBatch, FlowEvent, FlowKind, Vantage};
use synscope_bus::message::{Message, edge::EdgeBatch, signal::NodeSignals};
use synscope_bus::sequence::EventCounter;
use synscope_bus::subject::Wildcard;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::{self, Cluster};
use crate::load::SLOW;
use crate::report::Loss;
use crate::steps::Steps;

const NODES: [&str; 2] = ["node-a", "node-b"];
/// How long the server may take to come up.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two looks at the counts.
const LOOK: Duration = Duration::from_millis(500);
/// Counts that stood still for so long change no more: entries of ended connections expire within 5 s.
const STILL: Duration = Duration::from_secs(7);
/// Until then they must stand still.
const SETTLE: Duration = Duration::from_secs(40);

/// What the flow events told.
#[derive(Debug, Default)]
struct Seen {
    events: EventCounter,
    /// Slow connections from order to inventory, as order's node saw them.
    steps: Steps,
}

/// A subscriber beside the services.
#[derive(Debug)]
pub(crate) struct Watch {
    runtime: Runtime,
    connection: Connection,
    seen: Arc<Mutex<Seen>>,
    recorder: Option<JoinHandle<Result<()>>>,
    stop: watch::Sender<bool>,
}

impl Watch {
    /// Connects, counts events from now on, and records if asked to.
    pub(crate) fn start(cluster: &Cluster, record: Option<&Path>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let identity = cluster::watch()?;
        let connection = runtime.block_on(Connection::start(&cluster.nats(), &identity.to_string()))?;
        runtime.block_on(async { timeout(CONNECT, connection.connected()).await }).context("nats-server")?;
        let (stop, mut stopped) = watch::channel(false);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = connection.client().clone();
        runtime.spawn(count(runtime.block_on(client.subscribe(Wildcard::Flows.to_string()))?, seen.clone()));
        let mut recorder = None;
        if let Some(path) = record {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            let edges = runtime.block_on(client.subscribe(Wildcard::Edges.to_string()))?;
            let signals = runtime.block_on(client.subscribe(Wildcard::Signals.to_string()))?;
            let recording = async move {
                tokio::select! {
                    done = write(file, edges, signals) => done,
                    _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
                }
            };
            recorder = Some(runtime.spawn(recording));
        }
        // An answer to what was asked after them: the server has the subscriptions.
        runtime.block_on(async { jetstream::new(client).query_account().await }).context("nats-server")?;
        Ok(Self { runtime, connection, seen, recorder, stop })
    }

    /// What became of the events, once the counts stand still: that all are accounted for is no accident then.
    pub(crate) fn settled_loss(&self) -> Result<Loss> {
        let start = Instant::now();
        let (mut loss, mut changed) = (self.loss()?, start);
        while start.elapsed() < SETTLE {
            std::thread::sleep(LOOK);
            let now = self.loss()?;
            if now != loss {
                (loss, changed) = (now, Instant::now());
            } else if loss.accounted() == loss.produced || changed.elapsed() > STILL {
                break;
            }
        }
        Ok(loss)
    }

    /// What became of the events so far. The kernels are asked first: what they make meanwhile may be delivered already.
    fn loss(&self) -> Result<Loss> {
        let mut loss = Loss::default();
        for node in NODES {
            let status = self.runtime.block_on(ask(&self.connection, node, &GetStatus {}))?;
            let counter = |name: &str| status.counters.get(name).copied().with_context(|| format!("no count {name}"));
            let refused = counter("events_lost")?;
            loss.produced += counter("events_submitted")? + refused;
            loss.counted_lost += refused + status.foreign_records;
        }
        let seen = lock(&self.seen);
        loss.delivered = seen.events.received();
        loss.counted_lost += seen.events.missing();
        Ok(loss)
    }

    /// Where the latencies of order's slow connections lie.
    pub(crate) fn steps(&self) -> Steps {
        lock(&self.seen).steps
    }

    /// Ends, with the recording complete.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        let Some(recorder) = self.recorder.take() else { return Ok(()) };
        self.runtime.block_on(recorder).map_err(|error| anyhow!("the recorder: {error}"))?
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // No code panics while it holds the lock.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn count(mut flows: Subscriber, seen: Arc<Mutex<Seen>>) {
    let mut inbox = Inbox::default();
    while let Some(message) = flows.next().await {
        let Some(received) = inbox.read::<FlowBatch>(&message) else { continue };
        let batch = received.message;
        let mut seen = lock(&seen);
        seen.events.note(&received.publisher, batch.first, batch.events.len() as u64);
        for event in batch.events.iter().filter(|event| is_orders(event)) {
            if let Some(latency) = event.server_latency_ns.map(Duration::from_nanos).filter(|latency| *latency > SLOW) {
                seen.steps.note(latency, Some(event.syn_retries));
            }
        }
    }
}

/// A handshake of order with inventory, as order's node saw it.
fn is_orders(event: &FlowEvent) -> bool {
    event.kind == FlowKind::Established
        && event.vantage == Vantage::Client
        && event.source_workload.as_deref() == Some("shop/order")
        && event.destination_workload.as_deref() == Some("shop/inventory")
}

/// One JSON document per line, as `services/analyzer/engine` replays them.
async fn write(file: File, mut edges: Subscriber, mut signals: Subscriber) -> Result<()> {
    let mut out = BufWriter::new(file);
    let (mut edge_inbox, mut signal_inbox) = (Inbox::default(), Inbox::default());
    loop {
        tokio::select! {
            Some(message) = edges.next() => line::<EdgeBatch>(&mut out, &mut edge_inbox, &message, "edge")?,
            Some(message) = signals.next() => line::<NodeSignals>(&mut out, &mut signal_inbox, &message, "signal")?,
            else => return Ok(()),
        }
        out.flush()?;
    }
}

fn line<M: Message + Serialize>(
    out: &mut impl Write,
    inbox: &mut Inbox,
    message: &async_nats::Message,
    name: &str,
) -> Result<()> {
    if let Some(received) = inbox.read::<M>(message) {
        serde_json::to_writer(&mut *out, &json!({ "at_unix_ns": unix_now_ns(), name: received.message }))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
