//! What an outsider on NATS gets to see: every event counted, and edges and signals recorded for replays.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
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
use synscope_bus::message::{Message, edge::EdgeBatch, flow::FlowBatch, signal::NodeSignals};
use synscope_bus::sequence::EventCounter;
use synscope_bus::subject::Wildcard;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::report::Loss;

const NODES: [&str; 2] = ["node-a", "node-b"];
/// How long the server may take to come up.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two looks at the counts.
const LOOK: Duration = Duration::from_millis(500);
/// Counts that stood still for so long change no more: entries of ended connections expire within 5 s.
const STILL: Duration = Duration::from_secs(7);
/// Until then they must stand still.
const SETTLE: Duration = Duration::from_secs(40);

/// A subscriber beside the services.
#[derive(Debug)]
pub(crate) struct Watch {
    runtime: Runtime,
    connection: Connection,
    events: Arc<Mutex<EventCounter>>,
    recorder: Option<JoinHandle<Result<()>>>,
    stop: watch::Sender<bool>,
}

impl Watch {
    /// Connects, counts events from now on, and records if asked to.
    pub(crate) fn start(port: u16, record: Option<&Path>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let url = format!("nats://127.0.0.1:{port}");
        let connection = runtime.block_on(Connection::start(&url, "synscope-lab"))?;
        runtime.block_on(async { timeout(CONNECT, connection.connected()).await }).context("nats-server")?;
        let (stop, mut stopped) = watch::channel(false);
        let events = Arc::new(Mutex::new(EventCounter::default()));
        let client = connection.client().clone();
        runtime.spawn(count(runtime.block_on(client.subscribe(Wildcard::Flows.to_string()))?, events.clone()));
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
        Ok(Self { runtime, connection, events, recorder, stop })
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
        // No code panics while it holds the lock.
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        loss.delivered = events.received();
        loss.counted_lost += events.missing();
        Ok(loss)
    }

    /// Ends, with the recording complete.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        let Some(recorder) = self.recorder.take() else { return Ok(()) };
        self.runtime.block_on(recorder).map_err(|error| anyhow!("the recorder: {error}"))?
    }
}

async fn count(mut flows: Subscriber, events: Arc<Mutex<EventCounter>>) {
    let mut inbox = Inbox::default();
    while let Some(message) = flows.next().await {
        if let Some(received) = inbox.read::<FlowBatch>(&message) {
            let batch = &received.message;
            let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
            events.note(&received.publisher, batch.first, batch.events.len() as u64);
        }
    }
}

/// One JSON document per line, as `services/analyzer` replays them.
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
