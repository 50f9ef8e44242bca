//! Whether the process lives, and whether it can be of use.

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::life::Phase;

use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::Call;

/// The process lives.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Live {
    /// Always.
    pub alive: bool,
}

/// The service can be of use.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ready {
    /// Always.
    pub ready: bool,
    /// What it can't do, by name.
    pub degradations: std::collections::BTreeMap<String, String>,
}

/// `GET /healthz`.
pub async fn live(_: Call, _: Nothing) -> Result<Json<Live>, Problem> {
    Ok(Json(Live { alive: true }))
}

/// `GET /readyz`.
pub async fn ready(call: Call, _: Nothing) -> Result<Json<Ready>, Problem> {
    let health = call.app.life.health();
    match health.phase {
        Phase::Ready => Ok(Json(Ready { ready: true, degradations: health.degradations })),
        Phase::Starting => Err(Problem::unavailable("NATS was not seen yet")),
        Phase::Draining | Phase::Unknown => Err(Problem::unavailable("the service ends")),
    }
}
