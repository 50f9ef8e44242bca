//! What an outsider on NATS gets to see: recorded for replays, and asked what became of the messages.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use async_nats::Subscriber;
use futures::StreamExt;
use serde::Serialize;
use serde_json::json;
use synscope_bus::command::ask_health;
use synscope_bus::connection::Connection;
use synscope_bus::inbox::Inbox;
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::{Message, edge::EdgeBatch, signal::NodeSignals};
use synscope_bus::subject::Wildcard;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::report::Loss;

const NODES: [&str; 2] = ["node-a", "node-b"];

/// A subscriber beside the services.
#[derive(Debug)]
pub(crate) struct Watch {
    runtime: Runtime,
    connection: Connection,
    recorder: Option<JoinHandle<Result<()>>>,
    stop: watch::Sender<bool>,
    waiting: u64,
}

impl Watch {
    /// Connects, and records if asked to.
    pub(crate) fn start(port: u16, record: Option<&Path>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let url = format!("nats://127.0.0.1:{port}");
        let connection = runtime.block_on(Connection::start(&url, "synscope-lab"))?;
        let (stop, mut stopped) = watch::channel(false);
        let mut recorder = None;
        if let Some(path) = record {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            let client = connection.client().clone();
            let subscribe = async {
                let edges = client.subscribe(Wildcard::Edges.to_string()).await?;
                let signals = client.subscribe(Wildcard::Signals.to_string()).await?;
                Ok::<_, async_nats::SubscribeError>((edges, signals))
            };
            let (edges, signals) = runtime.block_on(subscribe)?;
            let recording = async move {
                tokio::select! {
                    done = write(file, edges, signals) => done,
                    _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
                }
            };
            recorder = Some(runtime.spawn(recording));
        }
        Ok(Self { runtime, connection, recorder, stop, waiting: 0 })
    }

    /// What became of the agents' messages so far.
    pub(crate) fn loss(&mut self) -> Result<Loss> {
        let mut loss = Loss::default();
        for node in NODES {
            let health = self.runtime.block_on(ask_health(&self.connection, "datapath", node))?;
            for counts in health.outboxes.values() {
                loss.produced += counts.produced;
                loss.delivered += counts.sent;
                loss.counted_lost += counts.dropped;
                self.waiting += counts.waiting;
            }
        }
        Ok(loss)
    }

    /// Messages that were on their way when [`Watch::loss`] asked.
    pub(crate) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Ends, with the recording complete.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.stop.send_replace(true);
        let Some(recorder) = self.recorder.take() else { return Ok(()) };
        self.runtime.block_on(recorder).map_err(|error| anyhow!("the recorder: {error}"))?
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
