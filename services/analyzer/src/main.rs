//! The analyzer service.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::{self, consumer::pull::OrderedConfig};
use clap::Parser;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use synscope_analyzer::engine::{Engine, Refused};
use synscope_analyzer::scale::Scale;
use synscope_bus::command::Answers;
use synscope_bus::configuration::{self, Log, Nats};
use synscope_bus::connection::Connection;
use synscope_bus::document::{DocumentError, Documents};
use synscope_bus::envelope::PublisherId;
use synscope_bus::inbox::Inbox;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::incident::Incident;
use synscope_bus::message::{Message, edge::EdgeBatch, signal::NodeSignals};
use synscope_bus::outbox::Outbox;
use synscope_bus::streams::Stream;
use synscope_bus::subject::{IncidentKind, NodeId, Subject};
use synscope_bus::telemetry;
use tokio::sync::mpsc;

/// Messages between reader and engine.
const QUEUE: usize = 4096;
/// What each incident subject may hold while NATS is away.
const INCIDENT_BYTES: usize = 4 << 20;
/// Between two attempts to reach what is not there.
const AGAIN: Duration = Duration::from_secs(1);

/// Finds what recurs in the fleet's latencies, and why.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Configuration file (TOML); the environment (`SYNSCOPE_…`) wins over it.
    #[arg(long, env = "SYNSCOPE_CONFIG")]
    config: Option<PathBuf>,
}

/// The analyzer's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    /// This instance's name.
    node: String,
    /// How much faster than usual everything is played; the same as the agents'.
    time_scale: f64,
    /// Where NATS is.
    nats: Nats,
    /// What is logged.
    log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self { node: "analyzer-0".into(), time_scale: 1.0, nats: Nats::default(), log: Log::default() }
    }
}

/// What comes from the streams.
enum Input {
    Edges(EdgeBatch),
    Signals(Box<NodeSignals>),
    /// A stream has been read up to what is there now.
    CaughtUp,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let settings: Settings = configuration::load(cli.config.as_deref())?;
    telemetry::start(&settings.log)?;
    anyhow::ensure!(
        (0.1..=1000.0).contains(&settings.time_scale),
        "configuration key \"time_scale\" is {}, must be 0.1 to 1000",
        settings.time_scale
    );
    let node = NodeId::new(settings.node.as_str())?;
    let connection = Connection::start(&settings.nats.url, "synscope-analyzer").await?;
    let life = Life::begin("analyzer", node.as_str(), connection.clone())?;
    let _answers = Answers::announce(&life).await?;
    tokio::select! {
        ended = work(&life, &settings, node) => ended?,
        () = life.stopped() => {}
    }
    life.drain().await;
    Ok(())
}

async fn work(life: &Life, settings: &Settings, node: NodeId) -> Result<()> {
    let scale = Scale::new(settings.time_scale);
    let mut engine = Engine::new(scale);
    let incidents = open_incidents(life).await;
    engine.restore(incidents.restored);
    let mut store =
        Store { life, node, documents: incidents.documents, unwritten: BTreeMap::new(), outboxes: BTreeMap::new() };

    let (tell, mut inputs) = mpsc::channel(QUEUE);
    let edges = read::<EdgeBatch>(life.connection().clone(), Stream::Edges, tell.clone(), Input::Edges);
    let signals = read::<NodeSignals>(life.connection().clone(), Stream::Signals, tell, |signals| {
        Input::Signals(Box::new(signals))
    });
    tokio::spawn(edges);
    tokio::spawn(signals);

    // Judging before both streams are read would be judging on half of the evidence.
    let mut behind = 2;
    let mut ticks = tokio::time::interval(Duration::from_nanos(scale.bucket_ns).max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            Some(input) = inputs.recv() => match input {
                Input::Edges(batch) => engine.edges(&batch),
                Input::Signals(signals) => engine.signals(&signals),
                Input::CaughtUp if behind > 0 => {
                    behind -= 1;
                    if behind == 0 {
                        life.ready();
                    }
                }
                Input::CaughtUp => {}
            },
            _ = ticks.tick(), if behind == 0 => {
                for incident in engine.tick(unix_now_ns()) {
                    store.tell(incident);
                }
                store.write().await;
                let refused = engine.refused();
                if refused != Refused::default() {
                    life.degrade("bounds", format!("more than can be remembered: {refused:?}"));
                }
            }
        }
    }
}

struct Opened {
    documents: Documents<Incident>,
    restored: Vec<Incident>,
}

/// What was known before this start; waits for NATS, because to begin without it would double every incident.
async fn open_incidents(life: &Life) -> Opened {
    loop {
        life.connection().connected().await;
        let opened = async {
            let documents = Documents::<Incident>::open(life.connection()).await?;
            let restored = documents.all().await?.into_iter().map(|(_, incident)| incident).collect();
            Ok::<_, DocumentError>(Opened { documents, restored })
        };
        match opened.await {
            Ok(opened) => {
                life.recover("incidents");
                tracing::info!(incidents = opened.restored.len(), "goes on with what was known");
                return opened;
            }
            Err(error) => life.degrade("incidents", format!("cannot be read yet: {error}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Where incidents go: the bucket, which the API serves, and a stream of events.
struct Store<'a> {
    life: &'a Life,
    node: NodeId,
    documents: Documents<Incident>,
    /// The latest state of each incident that is not in the bucket yet.
    unwritten: BTreeMap<String, Incident>,
    outboxes: BTreeMap<String, std::sync::Arc<Outbox>>,
}

impl Store<'_> {
    fn tell(&mut self, incident: Incident) {
        match IncidentKind::new(incident.kind.as_str()) {
            Ok(kind) => {
                let (life, node) = (self.life, &self.node);
                let outbox = self.outboxes.entry(incident.kind.clone()).or_insert_with(|| {
                    let outbox =
                        Outbox::new(&Subject::Incident(kind), PublisherId::begin(node.clone()), INCIDENT_BYTES);
                    life.send(&outbox);
                    outbox
                });
                if let Err(error) = outbox.put(&incident) {
                    tracing::error!(error = &error as &dyn std::error::Error, "an incident's event is lost");
                }
            }
            Err(error) => tracing::error!(%error, "an incident's kind is no subject"),
        }
        self.unwritten.insert(incident.id.clone(), incident);
    }

    async fn write(&mut self) {
        while let Some((id, incident)) = self.unwritten.pop_first() {
            if let Err(error) = self.documents.put(&id, &incident).await {
                self.life.degrade("incidents", format!("{id} is not written yet: {error}"));
                self.unwritten.insert(id, incident);
                return;
            }
        }
        self.life.recover("incidents");
    }
}

/// Reads a stream from its beginning, through lost connections. What was read before is recognised by its number.
async fn read<M: Message>(
    connection: Connection,
    stream: Stream,
    tell: mpsc::Sender<Input>,
    make: impl Fn(M) -> Input,
) {
    let jetstream = jetstream::new(connection.client().clone());
    let mut inbox = Inbox::default();
    let mut caught_up = false;
    loop {
        connection.connected().await;
        let opened = async {
            let mut stream = stream.ensure(&jetstream).await?;
            let last = stream.info().await?.state.last_sequence;
            let config = OrderedConfig::default();
            Ok::<_, anyhow::Error>((stream.create_consumer(config).await?.messages().await?, last))
        };
        match opened.await {
            Ok((mut messages, last)) => {
                if last == 0 && !caught_up {
                    caught_up = true;
                    if tell.send(Input::CaughtUp).await.is_err() {
                        return;
                    }
                }
                while let Some(Ok(message)) = messages.next().await {
                    let sequence = message.info().map_or(0, |info| info.stream_sequence);
                    if let Some(received) = inbox.read::<M>(&message)
                        && tell.send(make(received.message)).await.is_err()
                    {
                        return;
                    }
                    if !caught_up && sequence >= last {
                        caught_up = true;
                        if tell.send(Input::CaughtUp).await.is_err() {
                            return;
                        }
                    }
                }
                tracing::debug!(stream = stream.name(), "is read anew");
            }
            Err(error) => tracing::warn!(stream = stream.name(), error = format!("{error:#}"), "cannot be read yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
