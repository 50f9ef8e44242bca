//! What a node is asked to be like.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use synscope_abi::CONNTRACK_ENTRIES_MAX;
use synscope_bus::document::{Desired, DocumentError, Documents};
use synscope_bus::subject::NodeId;

use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::{Answer, Call};

/// Desired state of a node, with its revision, which is the entity tag too.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DesiredAnswer {
    /// The node.
    pub node: String,
    /// What it is asked to be like; none when nothing was asked yet.
    pub desired: Option<Desired>,
    /// The revision; 0 when there is none.
    pub revision: u64,
}

impl IntoResponse for DesiredAnswer {
    fn into_response(self) -> Response {
        ([(header::ETAG, format!("\"{}\"", self.revision))], Json(self)).into_response()
    }
}

impl Answer for DesiredAnswer {
    fn content(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![("application/json", generator.subschema_for::<Self>())]
    }
}

/// `GET /v1/nodes/{node}/desired`.
pub async fn get(call: Call, _: Nothing) -> Result<DesiredAnswer, Problem> {
    let node = node(&call)?;
    let read = Documents::<Desired>::open(call.app.nats()?).await?.get(&node).await?;
    let (desired, revision) = read.map_or((None, 0), |(desired, revision)| (Some(desired), revision));
    Ok(DesiredAnswer { node, desired, revision })
}

/// `PUT /v1/nodes/{node}/desired`, with the revision it is based on in `If-Match`; `"0"` where there is none yet.
pub async fn put(call: Call, desired: Desired) -> Result<DesiredAnswer, Problem> {
    let node = node(&call)?;
    check(&desired).map_err(|why| Problem::body("conntrack_entries", why))?;
    let based_on = if_match(&call.headers)?;
    let documents = Documents::<Desired>::open(call.app.nats()?).await?;
    match documents.compare_and_set(&node, &desired, based_on).await {
        Ok(revision) => Ok(DesiredAnswer { node, desired: Some(desired), revision }),
        Err(error @ DocumentError::Conflict { .. }) => Err(Problem::precondition(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Why no node can be like this, as far as that is known without asking it.
pub fn check(desired: &Desired) -> Result<(), String> {
    match desired.conntrack_entries {
        Some(entries) if !(1..=CONNTRACK_ENTRIES_MAX).contains(&entries) => {
            Err(format!("a table cannot have {entries} entries, only 1 to {CONNTRACK_ENTRIES_MAX}"))
        }
        _ => Ok(()),
    }
}

fn node(call: &Call) -> Result<String, Problem> {
    let node = NodeId::new(call.subject.clone()).map_err(|error| Problem::parameter("node", error.to_string()))?;
    Ok(node.into())
}

fn if_match(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(given) = headers.get(header::IF_MATCH) else {
        return Err(Problem::revision_wanted("say in If-Match which revision the change is based on, \"0\" for none"));
    };
    let given = given.to_str().unwrap_or_default();
    let tag = given.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(given);
    tag.parse().map_err(|_not| Problem::precondition(format!("If-Match {given:?} is no revision")))
}
