//! From NATS into the store.

use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::pull::OrderedConfig};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::document::{self, Seen};
use synscope_bus::inbox::{Counts, Inbox};
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::message::flow::FlowBatch;
use synscope_bus::message::incident::Incident;
use synscope_bus::message::signal::NodeSignals;
use synscope_bus::streams::Stream;
use synscope_bus::subject::Wildcard;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::app::App;
use crate::services;
use crate::store::incidents::Changed;
use crate::store::lock;

/// Between two attempts to read, and between two looks at whether the connection is still the same.
const AGAIN: Duration = Duration::from_millis(500);

/// What came in by which way.
#[derive(Debug, Default)]
pub struct Feeds {
    flows: Mutex<Inbox>,
    slows: Mutex<Inbox>,
    edges: Mutex<Inbox>,
    signals: Mutex<Inbox>,
}

/// What was received, what is missing, and what was none of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FeedCounts {
    /// Flow events, in batches.
    pub flows: Counts,
    /// Slow flows, in batches.
    pub slows: Counts,
    /// Edges, in batches.
    pub edges: Counts,
    /// Signals.
    pub signals: Counts,
}

impl Feeds {
    /// What came so far.
    pub fn counts(&self) -> FeedCounts {
        let of = |inbox: &Mutex<Inbox>| lock(inbox).counts();
        FeedCounts {
            flows: of(&self.flows),
            slows: of(&self.slows),
            edges: of(&self.edges),
            signals: of(&self.signals),
        }
    }
}

/// Begins to listen; all of it ends with the process.
pub fn start(app: &App, kept: Duration) {
    tokio::spawn(follow_flows(app.clone()));
    tokio::spawn(follow_incidents(app.clone()));
    tokio::spawn(services::follow(app.clone()));
    let (feeds, store) = (app.feeds.clone(), app.store.clone());
    stored(app, Stream::Slows, None, move |message, _| {
        let Some(received) = lock(&feeds.slows).read::<FlowBatch>(&message) else { return };
        let mut slows = lock(&store.slows);
        for event in received.message.events {
            slows.add(&received.message.node, event);
        }
    });
    let (feeds, store) = (app.feeds.clone(), app.store.clone());
    stored(app, Stream::Edges, Some(kept), move |message, _| {
        let Some(received) = lock(&feeds.edges).read::<EdgeBatch>(&message) else { return };
        lock(&store.edges).add(received.message, unix_now_ns());
    });
    let (feeds, store) = (app.feeds.clone(), app.store.clone());
    stored(app, Stream::Signals, Some(kept), move |message, stored_unix_ns| {
        let Some(received) = lock(&feeds.signals).read::<NodeSignals>(&message) else { return };
        lock(&store.signals).add(received.message, stored_unix_ns, unix_now_ns());
    });
}

async fn follow_flows(app: App) {
    let (store, feeds) = (app.store.clone(), app.feeds.clone());
    loop {
        // The client subscribes anew by itself when the server comes back.
        match app.life.connection().client().subscribe(Wildcard::Flows.to_string()).await {
            Ok(mut messages) => {
                app.life.recover("flows");
                while let Some(message) = messages.next().await {
                    let Some(received) = lock(&feeds.flows).read::<FlowBatch>(&message) else { continue };
                    let mut flows = lock(&store.flows);
                    flows.tell_lost(&received.message.node, received.message.lost);
                    for event in received.message.events {
                        let flow = flows.add(&received.message.node, event);
                        // Nobody may be listening.
                        let _listeners = store.live_flows.send(flow);
                    }
                }
            }
            Err(error) => app.life.degrade("flows", format!("cannot subscribe: {error}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow_incidents(app: App) {
    let store = app.store.clone();
    document::follow::<Incident>(app.life.connection(), ">", |seen| {
        let changed = match seen {
            Seen::Put { key, document, .. } => lock(&store.incidents).put(&key, document).map(Changed::Put),
            Seen::Gone { key } => {
                lock(&store.incidents).remove(&key);
                Some(Changed::Gone(key))
            }
            // It is logged; what was known of it still is.
            Seen::Foreign { .. } => None,
        };
        if let Some(changed) = changed {
            // Nobody may be listening.
            let _listeners = store.live_incidents.send(changed);
        }
    })
    .await;
}

/// How far a stream was read: the stream's time of making, and the last number.
type Place = (OffsetDateTime, u64);

/// What is done with a message, and with the time when the server stored it, Unix ns.
trait Take: FnMut(async_nats::Message, u64) {}
impl<F: FnMut(async_nats::Message, u64)> Take for F {}

/// Reads a stream from its start, or from `kept` ago, and goes on where it was after each break.
fn stored(app: &App, stream: Stream, kept: Option<Duration>, mut each: impl Take + Send + 'static) {
    let life = app.life.clone();
    tokio::spawn(async move {
        let connection = life.connection();
        let mut place: Option<Place> = None;
        loop {
            connection.connected().await;
            if let Err(error) = read_on(&life, stream, kept, &mut place, &mut each).await {
                life.degrade(stream.name(), format!("cannot be read: {error:#}"));
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
}

/// Reads until the connection is another one.
async fn read_on(
    life: &Life,
    stream: Stream,
    kept: Option<Duration>,
    place: &mut Option<Place>,
    each: &mut impl Take,
) -> anyhow::Result<()> {
    let connection = life.connection();
    let server = connection.life();
    let jetstream = jetstream::new(connection.client().clone());
    let opened = stream.ensure(&jetstream).await?;
    let created = opened.cached_info().created;
    let deliver_policy = match *place {
        // A stream that was made anew begins anew.
        Some((known, last)) if known == created => DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
        _ => kept.map_or(DeliverPolicy::All, |kept| DeliverPolicy::ByStartTime {
            start_time: OffsetDateTime::now_utc() - kept,
        }),
    };
    let consumer = opened.create_consumer(OrderedConfig { deliver_policy, ..OrderedConfig::default() }).await?;
    let mut messages = consumer.messages().await?;
    life.recover(stream.name());
    while connection.life() == server {
        match timeout(AGAIN, messages.next()).await {
            Ok(Some(message)) => {
                let message = message?;
                let Ok(info) = message.info() else { continue };
                *place = Some((created, info.stream_sequence));
                let stored_unix_ns = u64::try_from(info.published.unix_timestamp_nanos()).unwrap_or(0);
                each(message.message, stored_unix_ns);
            }
            Ok(None) => break,
            Err(_elapsed) => {}
        }
    }
    Ok(())
}
