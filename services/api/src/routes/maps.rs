//! How full the kernel's maps are.

use std::sync::Arc;

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::message::signal::{MapFill, NodeSignals, Observed};

use super::nodes::fill_ratio;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::Call;
use crate::store::lock;

/// One map.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Map {
    /// What the node tells of it.
    #[serde(flatten)]
    pub fill: MapFill,
    /// Entries now per entries at most; absent for a map that holds none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill_ratio: Option<f64>,
}

/// One node's maps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NodeMaps {
    /// The node.
    pub node: String,
    /// When they were read, Unix ns UTC.
    pub time_unix_ns: u64,
    /// They, the fullest first; or why they were not read.
    pub maps: Observed<Vec<Map>>,
}

/// `GET /v1/maps`.
pub async fn list(call: Call, _: Nothing) -> Result<Json<Vec<NodeMaps>>, Problem> {
    let latest: Vec<Arc<NodeSignals>> = lock(&call.app.store.signals).latest().values().cloned().collect();
    Ok(Json(latest.iter().map(|signals| of_node(signals)).collect()))
}

fn of_node(signals: &NodeSignals) -> NodeMaps {
    let maps = match &signals.maps {
        Observed::Observed { value } => {
            let map = |fill: &MapFill| Map { fill_ratio: fill_ratio(fill.live, fill.max), fill: fill.clone() };
            let mut maps: Vec<_> = value.iter().map(map).collect();
            maps.sort_by(|a, b| b.fill_ratio.unwrap_or(0.0).total_cmp(&a.fill_ratio.unwrap_or(0.0)));
            Observed::Observed { value: maps }
        }
        Observed::NotObserved { reason } => Observed::NotObserved { reason: reason.clone() },
        Observed::Unknown => Observed::Unknown,
    };
    NodeMaps { node: signals.node.clone(), time_unix_ns: signals.time_unix_ns, maps }
}
