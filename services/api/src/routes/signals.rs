//! What the nodes say about themselves, over time.

use std::num::NonZeroU64;
use std::sync::Arc;

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::signal::NodeSignals;

use crate::problem::Problem;
use crate::query::{Limit, Moment, Parameters};
use crate::route::Call;
use crate::store::lock;

/// Which signals are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SignalsQuery {
    /// Only this node's.
    pub node: Option<String>,
    /// Only those read then or later; all that are kept when absent.
    pub since: Option<Moment>,
    /// Only those read before then; until now when absent.
    pub until: Option<Moment>,
    /// Of each node only the last in each step of so many ms; all when absent.
    pub step_ms: Option<NonZeroU64>,
    /// How many at most; 1000 when absent.
    pub limit: Option<Limit>,
}

impl Parameters for SignalsQuery {}

/// Signals, oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SignalsAnswer {
    /// They.
    pub signals: Vec<Arc<NodeSignals>>,
    /// Later ones that found no room: ask again with `since` after the last, or with a longer step.
    pub left_out: usize,
}

/// `GET /v1/signals`.
pub async fn list(call: Call, asked: SignalsQuery) -> Result<Json<SignalsAnswer>, Problem> {
    let now = unix_now_ns();
    let since = asked.since.map_or(0, |since| since.unix_ns(now));
    let until = asked.until.map_or(u64::MAX, |until| until.unix_ns(now));
    let step_ns = asked.step_ms.map_or(0, |step| step.get().saturating_mul(1_000_000));
    let limit = usize::from(asked.limit.unwrap_or(Limit::MAX).get());
    let mut signals = lock(&call.app.store.signals).between(since, until, asked.node.as_deref(), step_ns);
    let left_out = signals.len().saturating_sub(limit);
    signals.truncate(limit);
    Ok(Json(SignalsAnswer { signals, left_out }))
}
