//! Incidents, and their fixes.

use std::sync::Arc;

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synscope_bus::document::{Desired, Documents};
use synscope_bus::message::incident::{Change, Fix, Incident};

use super::desired;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::Call;
use crate::store::lock;

/// `GET /v1/incidents`.
pub async fn list(call: Call, _: Nothing) -> Result<Json<Vec<Arc<Incident>>>, Problem> {
    Ok(Json(lock(&call.app.store.incidents).all()))
}

/// `GET /v1/incidents/{id}`.
pub async fn get(call: Call, _: Nothing) -> Result<Json<Arc<Incident>>, Problem> {
    find(&call).map(Json)
}

/// How a fix is to be applied.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FixOrder {
    /// Only tell what would be changed.
    pub dry_run: bool,
    /// Apply only if the node's desired state still has this revision, such as a dry run told; 0 for none yet.
    pub revision: Option<u64>,
}

/// What a fix changed, or would change.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FixAnswer {
    /// The incident.
    pub incident: String,
    /// The node whose desired state it is.
    pub node: String,
    /// Nothing was written.
    pub dry_run: bool,
    /// It differs from what was there.
    pub changed: bool,
    /// Desired state as it was; none when there was none.
    pub before: Option<Desired>,
    /// Desired state as it is then.
    pub after: Desired,
    /// Revision of what is there now; 0 when there is none yet.
    pub revision: u64,
}

/// `POST /v1/incidents/{id}/fix`.
pub async fn fix(call: Call, order: FixOrder) -> Result<Json<FixAnswer>, Problem> {
    let incident = find(&call)?;
    let (node, to) = change(&incident)?;
    let entries =
        u32::try_from(to).map_err(|_too_large| Problem::not_possible(format!("a table cannot have {to} entries")))?;
    desired::check(&Desired { conntrack_entries: Some(entries) }).map_err(Problem::not_possible)?;
    let documents = Documents::<Desired>::open(call.app.nats()?).await?;
    let (before, revision) = documents.get(node).await?.map_or((None, 0), |(before, at)| (Some(before), at));
    if order.revision.is_some_and(|wanted| wanted != revision) {
        return Err(Problem::conflict(format!("desired state of node {node:?} has revision {revision} by now")));
    }
    let mut after = before.clone().unwrap_or_default();
    after.conntrack_entries = Some(entries);
    let changed = before.as_ref() != Some(&after);
    let revision =
        if changed && !order.dry_run { documents.compare_and_set(node, &after, revision).await? } else { revision };
    let node = node.to_owned();
    Ok(Json(FixAnswer {
        incident: incident.id.clone(),
        node,
        dry_run: order.dry_run,
        changed,
        before,
        after,
        revision,
    }))
}

fn find(call: &Call) -> Result<Arc<Incident>, Problem> {
    let id = &call.subject;
    lock(&call.app.store.incidents).get(id).ok_or_else(|| Problem::not_found(format!("there is no incident {id:?}")))
}

fn change(incident: &Incident) -> Result<(&str, u64), Problem> {
    match &incident.fix {
        Some(Fix { change: Some(Change::ConntrackEntries { node, to, .. }), .. }) => Ok((node, *to)),
        Some(Fix { advice, summary, change: None, .. }) => {
            let why = format!("synscope cannot apply this fix, only advise: {summary}");
            Err(Problem::not_possible(why).advising(advice))
        }
        Some(Fix { advice, change: Some(Change::Unknown), .. }) => {
            Err(Problem::not_possible("this version does not know how to apply this fix").advising(advice))
        }
        None => Err(Problem::not_possible("nothing is known to help")),
    }
}
