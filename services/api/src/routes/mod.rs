//! The routes, one file each.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;

use crate::access::{Door, Right, guard};
use crate::app::App;
use crate::problem::Problem;
use crate::route::Route;

pub mod conntrack;
pub mod desired;
pub mod edges;
pub mod flows;
pub mod health;
pub mod incidents;
pub mod kernel;
pub mod maps;
pub mod metrics;
pub mod nodes;
pub mod page;
pub mod reports;
pub mod signals;
pub mod status;
pub mod stream;
pub mod trace_stream;
pub mod traces;

/// The largest body, bytes.
pub(crate) const BODY_MAX: usize = 64 << 10;

/// All of them.
pub fn all() -> Vec<Route> {
    vec![
        Route::get("/v1/status", "How this service and the others are", status::get),
        Route::get("/v1/nodes", "The nodes, and how full their connection tables are", nodes::list),
        Route::get("/v1/edges", "Counts and latencies per edge and vantage", edges::list),
        Route::get("/v1/flows", "Flow events, the newest first", flows::list),
        Route::get(
            "/v1/flows/stream",
            "Flow events as they come: `flow`, and `missed` for a slow reader",
            flows::stream,
        ),
        Route::get("/v1/nodes/{node}/conntrack", "A part of a node's connection tables", conntrack::list),
        Route::get("/v1/nodes/{node}/conntrack/top", "Who fills a node's connection tables", conntrack::top),
        Route::get("/v1/nodes/{node}/desired", "What a node is asked to be like", desired::get),
        Route::put(
            Right::Change,
            "/v1/nodes/{node}/desired",
            "Asks a node to be like this, if the revision is If-Match's",
            desired::put,
        ),
        Route::get("/v1/maps", "How full the BPF maps of all nodes are", maps::list),
        Route::get("/v1/signals", "What the nodes said about themselves, oldest first", signals::list),
        Route::get("/v1/reports/slow-syns", "Slow SYNs: how many, the slowest, and when", reports::slow_syns),
        Route::get("/v1/incidents", "All incidents, the latest first", incidents::list),
        Route::get("/v1/incidents/{id}", "One incident", incidents::get),
        Route::post(
            Right::Change,
            "/v1/incidents/{id}/fix",
            "Applies an incident's fix, or tells what it would change",
            incidents::fix,
        ),
        Route::get(
            "/v1/events/stream",
            "Incidents as they change: `incident`, `gone`, and `missed`",
            stream::incidents,
        ),
        Route::post(Right::Trace, "/v1/traces", "Starts a script or a curated probe on nodes", traces::start),
        Route::get("/v1/traces", "All traces: running ones, and the latest that ended", traces::list),
        Route::post(
            Right::Trace,
            "/v1/traces/check",
            "What is wrong with a script, and how it would be attached",
            traces::check,
        ),
        Route::get("/v1/traces/{id}", "What a trace found, the maps of all nodes as one", traces::get),
        Route::delete(
            Right::Trace,
            "/v1/traces/{id}",
            "Ends a trace on all nodes, and tells what it found",
            traces::stop,
        ),
        Route::get(
            "/v1/traces/{id}/stream",
            "A trace as it goes on: `line`, `maps` each second, `missed`, and `ended` for each node",
            trace_stream::stream,
        ),
        Route::get("/v1/probes", "The curated probes, with their parameters and scripts", kernel::probes),
        Route::get("/v1/functions", "Functions of a node's kernel", kernel::functions),
        Route::get("/v1/types/{name}", "A type of a node's kernel, in C", kernel::type_text),
        Route::get("/v1/asyncapi.json", "What is published on NATS, as an AsyncAPI document", page::asyncapi),
        Route::get("/metrics", "Metrics for Prometheus", metrics::get),
        Route::open("/healthz", "Whether the process lives", health::live),
        Route::open("/readyz", "Whether the service can be of use: 503 until NATS was seen once", health::ready),
        Route::get("/openapi.json", "This document", page::openapi),
        Route::get("/", "The page for a first look", page::index),
        Route::get("/docs", "The page that shows this document", page::docs),
    ]
}

/// The service as axum sees it.
pub fn router(app: App) -> Router {
    all()
        .into_iter()
        .fold(Router::new(), |router, Route { path, right, handler, .. }| {
            let door = Door { app: app.clone(), right };
            router.route(path, handler.layer(from_fn_with_state(door, guard)))
        })
        .fallback(async |uri: Uri| {
            Problem::not_found(format!("there is no {}", uri.path())).at(uri.path()).into_response()
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            Problem::method(format!("{} has no {method}", uri.path())).at(uri.path()).into_response()
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(app)
}
