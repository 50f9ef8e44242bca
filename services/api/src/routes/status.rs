//! How this service and the others are.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::command::tracer::Activity;
use synscope_bus::life::Health;
use synscope_bus::message::signal::Observed;

use crate::app::App;
use crate::feed::FeedCounts;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::Call;
use crate::services::{ANALYZER, DATAPATH, TRACER};
use crate::store::lock;
use crate::store::services::Instance;

/// One instance of another service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InstanceHealth {
    /// The node it runs on, or its own name.
    pub node: String,
    /// When it was asked, Unix ns UTC.
    pub asked_unix_ns: u64,
    /// What it answered, or why there is no answer.
    pub health: Observed<Health>,
}

/// One node's tracer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TracerHealth {
    /// How it is.
    #[serde(flatten)]
    pub instance: InstanceHealth,
    /// Its node's labels.
    pub labels: BTreeMap<String, String>,
    /// What its traces come to since it began, or why that is not known.
    pub activity: Observed<Activity>,
}

/// What is kept in memory, and what could not be kept.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Held {
    /// Entries kept.
    pub kept: usize,
    /// Entries that went before their time to make room, or found none.
    pub forgotten: u64,
}

/// All that is kept in memory.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Memory {
    /// Flow events.
    pub flows: Held,
    /// Slow, retried, refused and failed flows.
    pub slows: Held,
    /// Buckets of edges.
    pub edges: Held,
    /// Readings of signals.
    pub signals: Held,
    /// Incidents.
    pub incidents: Held,
}

/// How this service and the others are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusAnswer {
    /// This instance.
    pub api: Health,
    /// The nodes' datapaths that were heard of in the last hour.
    pub datapaths: Vec<InstanceHealth>,
    /// The analyzers, or why there are none.
    pub analyzers: Observed<Vec<InstanceHealth>>,
    /// The nodes' tracers that were heard of in the last hour.
    pub tracers: Vec<TracerHealth>,
    /// What was received, what is missing, and what was none of ours.
    pub feeds: FeedCounts,
    /// Flow events that each node lost before they were sent, since its datapath began.
    pub flows_lost: BTreeMap<String, u64>,
    /// What is kept in memory.
    pub memory: Memory,
    /// Events that slow readers of streams missed.
    pub stream_missed: u64,
}

/// `GET /v1/status`.
pub async fn get(call: Call, _: Nothing) -> Result<Json<StatusAnswer>, Problem> {
    let app = &call.app;
    let analyzers = instances(app, ANALYZER);
    // A lock taken within the answer would be held until the answer is whole.
    let flows_lost = lock(&app.store.flows).lost().clone();
    Ok(Json(StatusAnswer {
        api: app.life.health(),
        datapaths: instances(app, DATAPATH),
        analyzers: if analyzers.is_empty() {
            Observed::NotObserved { reason: "no analyzer was heard of".into() }
        } else {
            Observed::Observed { value: analyzers }
        },
        tracers: tracers(app),
        feeds: app.feeds.counts(),
        flows_lost,
        memory: memory(app),
        stream_missed: app.missed(),
    }))
}

fn instances(app: &App, of: &str) -> Vec<InstanceHealth> {
    let services = lock(&app.store.services);
    let known = services.known().iter().filter(|((service, _), _)| *service == of);
    known.map(|((_, node), instance)| health(node, instance)).collect()
}

fn health(node: &str, instance: &Instance) -> InstanceHealth {
    InstanceHealth { node: node.to_owned(), asked_unix_ns: instance.asked_unix_ns, health: instance.health.clone() }
}

fn tracers(app: &App) -> Vec<TracerHealth> {
    let services = lock(&app.store.services);
    let tracers = services.known().iter().filter(|((service, _), _)| *service == TRACER);
    tracers
        .map(|((_, node), instance)| TracerHealth {
            instance: health(node, instance),
            labels: instance.labels.pairs().clone(),
            activity: instance.activity.clone().unwrap_or_default(),
        })
        .collect()
}

fn memory(app: &App) -> Memory {
    let store = &app.store;
    Memory {
        flows: held(&store.flows, |flows| (flows.len(), flows.forgotten())),
        slows: held(&store.slows, |slows| (slows.len(), slows.forgotten())),
        edges: held(&store.edges, |edges| (edges.len(), edges.forgotten())),
        signals: held(&store.signals, |signals| (signals.len(), signals.forgotten() + signals.refused())),
        incidents: held(&store.incidents, |incidents| (incidents.len(), incidents.refused())),
    }
}

fn held<T>(part: &Mutex<T>, of: impl FnOnce(&T) -> (usize, u64)) -> Held {
    let (kept, forgotten) = of(&lock(part));
    Held { kept, forgotten }
}
