//! From NATS into the store.

use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::document::{self, Seen};
use synscope_bus::inbox::{Counts, Inbox};
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::message::flow::FlowBatch;
use synscope_bus::message::incident::Incident;
use synscope_bus::message::signal::NodeSignals;
use synscope_bus::reader::{Reader, Told};
use synscope_bus::streams::{self, Stream};
use synscope_bus::subject::Wildcard;

use crate::app::App;
use crate::services;
use crate::store::incidents::Changed;
use crate::store::lock;

/// Between two attempts to subscribe.
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
    let connection = app.life.connection().clone();
    tokio::spawn(async move { streams::keep_made(&connection).await });
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

/// Hands on what a stream holds, from its start or from `kept` ago, with the time when the server stored each message,
/// Unix ns.
fn stored(
    app: &App,
    stream: Stream,
    kept: Option<Duration>,
    mut each: impl FnMut(async_nats::Message, u64) + Send + 'static,
) {
    let life = app.life.clone();
    let mut reader = Reader::new(life.connection().clone(), stream, kept);
    tokio::spawn(async move {
        loop {
            match reader.next().await {
                Told::Readable => life.recover(stream.name()),
                Told::Message(message, stored_unix_ns) => each(message, stored_unix_ns),
                Told::CaughtUp => {}
                Told::Unreadable(why) => life.degrade(stream.name(), format!("cannot be read: {why}")),
            }
        }
    });
}
