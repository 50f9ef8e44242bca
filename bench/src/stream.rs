//! From the event ring to a subscriber of NATS: the datapath's own agent, publisher and outboxes, and a real server.
//!
//! The records are made by a kernel program that puts recorded events into the agent's own ring and counts them in the
//! agent's own counters, at a steady rate.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures::StreamExt;
use synscope_bus::command::datapath::Status;
use synscope_bus::connection::Connection;
use synscope_bus::envelope::PublisherId;
use synscope_bus::inbox::Inbox;
use synscope_bus::life::{Life, Phase};
use synscope_bus::message::flow::FlowBatch;
use synscope_bus::sequence::EventCounter;
use synscope_bus::subject::{NodeId, Wildcard};
use synscope_datapath::agent::{self, Surroundings};
use synscope_datapath::edges::Edges;
use synscope_datapath::names::Directory;
use synscope_datapath::publish::Publisher;
use synscope_datapath::questions::{self, Question, Questions};
use synscope_datapath::settings::Settings;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::floor::Floor;
use crate::raw;
use crate::recorded::{RECORDED, event, names};
use crate::row::{Aim, Row};
use crate::samples::number;
use crate::server::Server;

const NODE: &str = "node-a";
const STEADY: u32 = 200_000;
const FAST: u32 = 1_000_000;
const TOO_FAST: u32 = 2_000_000;
/// Of a run that is offered more than arrives.
const SHORT: Duration = Duration::from_secs(5);
/// Between two bursts of records.
const BEAT: Duration = Duration::from_millis(1);
const DEADLINE: Duration = Duration::from_secs(20);
/// So long without a message after all was sent, and there is none any more.
const SILENCE: Duration = Duration::from_secs(1);
/// All rows about the way to NATS.
pub(crate) fn rows(full: bool) -> Result<Vec<Row>> {
    let steady = stream(STEADY, Duration::from_secs(if full { 60 } else { 10 }))?;
    let fast = stream(FAST, SHORT)?;
    let flood = stream(TOO_FAST, SHORT)?;
    let raw = raw::bytes_per_second(SHORT)?;
    Ok(vec![
        Row::alone("stream-200k-rate", steady.rate, "events/s", Aim::AtLeast(f64::from(STEADY) * 0.99)),
        Row::alone("stream-200k-lost", number(steady.lost()), "events", Aim::AtMost(0.0)),
        Row::alone("stream-200k-unaccounted", number(steady.unaccounted()), "events", Aim::AtMost(0.0)),
        Row::alone("stream-1m-rate", fast.rate, "events/s", Aim::AtLeast(f64::from(FAST) * 0.99)),
        Row::alone("stream-1m-lost", number(fast.lost()), "events", Aim::None),
        Row::alone("stream-1m-unaccounted", number(fast.unaccounted()), "events", Aim::AtMost(0.0)),
        Row::alone("stream-flood-offered", flood.rate, "events/s", Aim::None),
        Row::alone("stream-flood-delivered", flood.per_second(flood.delivered), "events/s", Aim::AtLeast(1e6)),
        Row::alone("stream-flood-unaccounted", number(flood.unaccounted()), "events", Aim::AtMost(0.0)),
        Row::beside(
            "stream-flood-payload",
            flood.per_second(flood.bytes) / 1e6,
            "MB/s",
            raw / 1e6,
            Aim::RatioAtLeast(0.5),
        ),
    ])
}

/// What became of the events of one run.
struct Account {
    /// Put into the ring or refused by it.
    produced: u64,
    /// Produced per second.
    rate: f64,
    /// Until the last one was delivered.
    took: Duration,
    /// Refused by the ring, as the kernel counts them.
    lost_in_kernel: u64,
    /// Found missing by the subscriber, between the numbers of those that it read.
    missing: u64,
    /// Read by the subscriber.
    delivered: u64,
    /// The payloads they came in, bytes.
    bytes: u64,
}

impl Account {
    fn per_second(&self, count: u64) -> f64 {
        number(count) / self.took.as_secs_f64()
    }

    const fn lost(&self) -> u64 {
        self.produced.saturating_sub(self.delivered)
    }

    /// Events that neither arrived nor were counted as lost, by the kernel or as a gap in the events' numbers, which is
    /// what a message dropped by its outbox becomes; or that were counted twice. The outbox drops its oldest, and the
    /// subscriber is there from the first to the last, so that every gap is between two events that it read.
    const fn unaccounted(&self) -> u64 {
        self.produced.abs_diff(self.delivered + self.lost_in_kernel + self.missing)
    }
}

fn stream(per_second: u32, length: Duration) -> Result<Account> {
    let server = Server::start()?;
    let pins = Pins(PathBuf::from(format!("/sys/fs/bpf/synscope-bench-{}", std::process::id())));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let account = runtime.block_on(measure(&server, &pins.0, per_second, length))?;
    let Account { produced, lost_in_kernel, missing, delivered, .. } = &account;
    eprintln!(
        "bench: {per_second} events/s offered: {produced} produced, {delivered} delivered, {lost_in_kernel} refused by \
         the ring, {missing} missed by the reader"
    );
    Ok(account)
}

async fn measure(server: &Server, pins: &Path, per_second: u32, length: Duration) -> Result<Account> {
    let connection = Connection::start(&server.url, "synscope-bench").await?;
    timeout(DEADLINE, connection.connected()).await.context("nats-server does not come up")?;
    let reader = Connection::start(&server.url, "synscope-bench-reader").await?;
    timeout(DEADLINE, reader.connected()).await.context("nats-server does not come up")?;
    let mut messages = reader.client().subscribe(Wildcard::Flows.to_string()).await?;
    // An answer to what was asked after it: the server has the subscription.
    async_nats::jetstream::new(reader.client().clone()).query_account().await?;
    let (all_sent, mut sent) = oneshot::channel::<()>();
    let reading = tokio::spawn(async move {
        let (mut inbox, mut events, mut bytes) = (Inbox::default(), EventCounter::default(), 0);
        let mut last = Instant::now();
        loop {
            match timeout(SILENCE, messages.next()).await {
                Ok(Some(message)) => {
                    if let Some(received) = inbox.read::<FlowBatch>(&message) {
                        let batch = &received.message;
                        events.note(&received.publisher, batch.first, batch.events.len() as u64);
                        bytes += message.payload.len() as u64;
                        last = Instant::now();
                    }
                }
                Ok(None) => break,
                Err(_silence) if sent.try_recv().is_ok() => break,
                Err(_silence) => {}
            }
        }
        (events, bytes, inbox.counts().foreign, last)
    });

    let service = Service::start(&connection, pins).await?;
    let producing = thread::spawn({
        let pins = pins.to_owned();
        move || produce(&mut Floor::load(Some(&pins))?, per_second, length)
    });
    let produced = tokio::task::spawn_blocking(move || producing.join()).await?;
    let (start, took) = produced.map_err(|_panic| anyhow!("the producer panicked"))??;
    let status = service.finish().await?;
    // A reader that is gone has said so by its own error, below.
    let _reader_gone = all_sent.send(());
    let (events, bytes, foreign, last) = reading.await?;
    ensure!(foreign == 0, "{foreign} messages were foreign");

    let counter =
        |name: &str| status.counters.get(name).copied().context("a counter").map_err(|e| e.context(name.to_owned()));
    let (submitted, lost_in_kernel) = (counter("events_submitted")?, counter("events_lost")?);
    ensure!(status.foreign_records == 0, "{} records were foreign", status.foreign_records);
    let produced = submitted + lost_in_kernel;
    Ok(Account {
        produced,
        rate: number(produced) / took.as_secs_f64(),
        took: last.duration_since(start),
        lost_in_kernel,
        missing: events.missing(),
        delivered: events.received(),
        bytes,
    })
}

/// Makes records at this rate, catching up after each pause that the machine made.
/// Tells when it began and how long it took.
pub(crate) fn produce(floor: &mut Floor, per_second: u32, length: Duration) -> Result<(Instant, Duration)> {
    floor.record(RECORDED, event)?;
    let start = Instant::now();
    let mut made = 0_u32;
    while start.elapsed() < length {
        let due = start.elapsed().as_secs_f64() * f64::from(per_second);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and at most 12e6")]
        let burst = (due as u32).saturating_sub(made);
        if burst > 0 {
            floor.replay(burst)?;
            made += burst;
        }
        thread::sleep(BEAT.saturating_sub(Duration::from_micros(100)));
    }
    Ok((start, start.elapsed()))
}

/// The datapath service as its `main` starts it, without interfaces.
struct Service {
    life: Life,
    questions: Questions,
    working: thread::JoinHandle<Result<()>>,
    _tables: Receiver<agent::OwnTables>,
}

impl Service {
    async fn start(connection: &Connection, pins: &Path) -> Result<Self> {
        let life = Life::begin("datapath", NODE, connection.clone())?;
        let settings = Settings {
            node: NODE.to_owned(),
            pins: pins.to_owned(),
            interfaces: Vec::new(),
            conntrack_entries: 1000,
            ..Settings::default()
        };
        let publisher = PublisherId::begin(NodeId::new(NODE)?);
        let edges = Edges::new(NODE, settings.bucket(), Duration::from_millis(settings.slow_ms));
        let publisher = Publisher::new(&life, &publisher, edges, settings.bucket());
        let names = Directory::new(names());
        let (table, tables) = sync_channel(1);
        let (_nobody_wishes, wishes) = tokio::sync::watch::channel(Ok(None));
        let (questions, asked) = questions::open();
        let around = Surroundings { life: life.clone(), names, table, wishes, asked };
        let working =
            thread::Builder::new().name("agent".to_owned()).spawn(move || agent::run(settings, publisher, around))?;
        let ready = async {
            while life.health().phase != Phase::Ready && !working.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, ready).await.context("the agent does not get ready")?;
        Ok(Self { life, questions, working, _tables: tables })
    }

    /// Ends it in order; its status.
    async fn finish(self) -> Result<Status> {
        let questions = self.questions;
        let status = tokio::task::spawn_blocking(move || questions.ask(Question::Status)).await?;
        let status = status.map_err(anyhow::Error::msg)?;
        self.life.stop();
        let ended = tokio::task::spawn_blocking(move || self.working.join()).await?;
        ended.map_err(|_panic| anyhow!("the agent panicked"))??;
        self.life.drain().await;
        Ok(status)
    }
}

/// A folder on bpffs; removed when dropped.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}
