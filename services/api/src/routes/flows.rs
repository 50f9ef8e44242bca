//! Flow events, page by page or as they come.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synscope_bus::message::flow::{FlowKind, Verdict};

use super::stream::Events;
use crate::app::App;
use crate::problem::Problem;
use crate::query::{Limit, Parameters, named};
use crate::route::Call;
use crate::store::flows::{Filter, Flow};
use crate::store::lock;

/// Which flows are wanted: all that is given must hold.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct FlowsQuery {
    /// Either side's workload.
    pub workload: Option<String>,
    /// Either side's address.
    #[schemars(extend("pattern" = "^[0-9a-fA-F:.]{2,45}$"))]
    pub address: Option<IpAddr>,
    /// Either side's port.
    pub port: Option<u16>,
    /// What happened.
    #[serde(default, deserialize_with = "named")]
    pub kind: Option<FlowKind>,
    /// What became of the packet.
    #[serde(default, deserialize_with = "named")]
    pub verdict: Option<Verdict>,
    /// Least latency, ns; flows that were not measured do not have it.
    pub min_latency_ns: Option<u64>,
}

/// Which page is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct PageQuery {
    /// How many at most; 100 when absent.
    pub limit: Option<Limit>,
    /// `next` of the previous page; absent for the newest.
    #[schemars(extend("pattern" = "^[0-9a-f]+-[0-9]+$"))]
    pub cursor: Option<String>,
}

impl Parameters for FlowsQuery {}
impl Parameters for PageQuery {}

impl From<FlowsQuery> for Filter {
    fn from(asked: FlowsQuery) -> Self {
        Self {
            workload: asked.workload,
            address: asked.address.map(|address| address.to_string()),
            port: asked.port,
            kind: asked.kind,
            verdict: asked.verdict,
            min_latency_ns: asked.min_latency_ns,
        }
    }
}

/// A page of flows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FlowsPage {
    /// They, newest first.
    pub flows: Vec<Arc<Flow>>,
    /// The cursor of the next page; none when there is none.
    pub next: Option<String>,
}

/// `GET /v1/flows`.
pub async fn list(call: Call, (asked, page): (FlowsQuery, PageQuery)) -> Result<Json<FlowsPage>, Problem> {
    let before = page.cursor.map(|cursor| read_cursor(&call.app, &cursor)).transpose()?;
    let limit = page.limit.unwrap_or_default().get();
    let (flows, more) = lock(&call.app.store.flows).newest(&asked.into(), before, usize::from(limit));
    let next = flows.last().filter(|_| more).map(|last| format!("{:x}-{}", began(&call.app), last.number));
    Ok(Json(FlowsPage { flows, next }))
}

/// `GET /v1/flows/stream`.
pub async fn stream(call: Call, asked: FlowsQuery) -> Result<Events<Flow>, Problem> {
    let filter = Filter::from(asked);
    let receiver = call.app.store.live_flows.subscribe();
    Ok(Events::new(&call.app, receiver, move |flow| {
        filter.matches(&flow).then(|| axum::response::sse::Event::default().event("flow").json_data(flow))
    }))
}

/// Numbers begin anew with each life of the service, so a cursor names the life.
fn read_cursor(app: &App, cursor: &str) -> Result<u64, Problem> {
    let parts = cursor.split_once('-');
    let read = parts.and_then(|(life, number)| Some((u64::from_str_radix(life, 16).ok()?, number.parse().ok()?)));
    match read {
        Some((life, number)) if life == began(app) => Ok(number),
        Some(_) => Err(Problem::parameter("cursor", "the service began anew since: begin without a cursor")),
        None => Err(Problem::parameter("cursor", format!("{cursor:?} is no cursor: take `next` of a page"))),
    }
}

fn began(app: &App) -> u64 {
    app.life.health().started_unix_ns
}
