//! The nodes.

use std::collections::BTreeSet;

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::command::datapath::Status;
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::signal::{Conntrack, Observed};

use crate::app::App;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::Call;
use crate::services::DATAPATH;
use crate::store::lock;

/// How full one connection table is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Table {
    /// 4 or 6.
    pub family: u8,
    /// Entries now.
    pub live: u64,
    /// Entries at most.
    pub max: u64,
    /// Entries now per entries at most; absent for a table that holds none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill_ratio: Option<f64>,
}

/// One node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Node {
    /// Its name.
    pub node: String,
    /// Time of its latest signals, Unix ns UTC; none when there were none.
    pub last_signal_unix_ns: Option<u64>,
    /// How long ago that was, ms.
    pub signal_age_ms: Option<u64>,
    /// How far its clock is behind the NATS server's, ns: the least of five minutes' readings of the server's time less
    /// the node's; none when there were none. What happened on two nodes can be ordered no finer than their difference.
    pub clock_offset_ns: Option<i64>,
    /// Its connection table by its latest signals: the fuller one, with the counters of both.
    pub conntrack: Observed<Conntrack>,
    /// `observe` or `enforce`, or why that is not known.
    pub mode: Observed<String>,
    /// Its connection tables by its latest answer.
    pub tables: Observed<Vec<Table>>,
    /// All of its latest answer.
    pub datapath: Observed<Status>,
}

/// `GET /v1/nodes`.
pub async fn list(call: Call, _: Nothing) -> Result<Json<Vec<Node>>, Problem> {
    Ok(Json(names(&call.app).into_iter().map(|name| node(&call.app, name)).collect()))
}

/// The nodes that were heard of.
pub fn names(app: &App) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = lock(&app.store.signals).latest().keys().cloned().collect();
    let services = lock(&app.store.services);
    names.extend(services.known().keys().filter(|(service, _)| *service == DATAPATH).map(|(_, node)| node.clone()));
    names
}

/// Share of a table that is in use; none for one that holds nothing.
#[expect(clippy::cast_precision_loss, reason = "a ratio of entries needs no more than 53 bits")]
pub fn fill_ratio(live: u64, max: u64) -> Option<f64> {
    (max > 0).then(|| live as f64 / max as f64)
}

fn node(app: &App, name: String) -> Node {
    let (signals, clock_offset_ns) = {
        let signals = lock(&app.store.signals);
        (signals.latest().get(&name).cloned(), signals.clock_offset_ns(&name))
    };
    let unheard = || Observed::NotObserved { reason: format!("no datapath of node {name:?} was heard of") };
    let datapath =
        lock(&app.store.services).datapath(&name).and_then(|instance| instance.status.clone()).unwrap_or_else(unheard);
    let last = signals.as_ref().map(|signals| signals.time_unix_ns);
    Node {
        last_signal_unix_ns: last,
        signal_age_ms: last.map(|last| unix_now_ns().saturating_sub(last) / 1_000_000),
        clock_offset_ns,
        conntrack: signals.map(|signals| signals.conntrack.clone()).unwrap_or_default(),
        mode: part(&datapath, |status| status.mode.clone()),
        tables: part(&datapath, |status| {
            let tables = status.tables.iter();
            let table = |table: &synscope_bus::command::datapath::TableStatus| Table {
                family: table.family,
                live: table.live,
                max: table.max,
                fill_ratio: fill_ratio(table.live, table.max),
            };
            tables.map(table).collect()
        }),
        datapath,
        node: name,
    }
}

fn part<T>(status: &Observed<Status>, of: impl FnOnce(&Status) -> T) -> Observed<T> {
    match status {
        Observed::Observed { value } => Observed::Observed { value: of(value) },
        Observed::NotObserved { reason } => Observed::NotObserved { reason: reason.clone() },
        Observed::Unknown => Observed::Unknown,
    }
}
