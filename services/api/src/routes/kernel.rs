//! What nodes can be traced for: curated probes, and their kernels' functions and types.

use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;
use synscope_bus::command::tracer::{CuratedProbe, DescribeType, Functions, ListFunctions, ListProbes, TypeText};

use crate::problem::Problem;
use crate::query::{Limit, Parameters};
use crate::route::Call;
use crate::tracers::ask_one;

/// Whose answer is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct NodeQuery {
    /// The node; any that has a tracer when absent.
    pub node: Option<String>,
}

/// Which functions are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct FunctionsQuery {
    /// A pattern of names, such as `tcp_*`; all when absent.
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    /// How many at most; 100 when absent.
    pub limit: Option<Limit>,
}

impl Parameters for NodeQuery {}
impl Parameters for FunctionsQuery {}

/// `GET /v1/probes`.
pub async fn probes(call: Call, NodeQuery { node }: NodeQuery) -> Result<Json<Vec<CuratedProbe>>, Problem> {
    Ok(Json(ask_one(&call.app, node, &ListProbes {}).await?))
}

/// `GET /v1/functions`.
pub async fn functions(call: Call, (asked, at): (FunctionsQuery, NodeQuery)) -> Result<Json<Functions>, Problem> {
    let pattern = asked.pattern.unwrap_or_else(|| "*".to_owned());
    let question = ListFunctions { pattern, limit: asked.limit.unwrap_or_default().get() };
    Ok(Json(ask_one(&call.app, at.node, &question).await?))
}

/// `GET /v1/types/{name}`.
pub async fn type_text(call: Call, NodeQuery { node }: NodeQuery) -> Result<Json<TypeText>, Problem> {
    Ok(Json(ask_one(&call.app, node, &DescribeType { name: call.subject.clone() }).await?))
}
