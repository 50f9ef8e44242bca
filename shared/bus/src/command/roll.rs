//! Who is there: the roll call of the NATS micro-services protocol.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::connection::Connection;
use crate::labels::Labels;
use crate::subject::{ROLL_CALL, ServiceName};

/// Why the roll could not be called.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// No answers can be heard.
    #[error("answers cannot be subscribed to")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// The call did not go out.
    #[error("the call cannot be published")]
    Publish(#[from] async_nats::PublishError),
}

/// An instance of a service of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Present {
    /// The service, such as `datapath`.
    pub service: String,
    /// The node it runs on.
    pub node: String,
    /// Its labels.
    pub labels: Labels,
}

/// What of an answer is of interest here.
#[derive(Debug, Deserialize)]
struct Answer {
    name: String,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

/// Asks all services to say that they are there, and hands on those of ours that do within `wait`.
pub async fn call(connection: &Connection, wait: Duration, mut each: impl FnMut(Present)) -> Result<(), RollError> {
    let client = connection.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply(ROLL_CALL, inbox, "".into()).await?;
    let end = Instant::now() + wait;
    while let Ok(Some(answer)) = timeout_at(end, answers.next()).await {
        // Services of others answer, too.
        let Ok(answer) = serde_json::from_slice::<Answer>(&answer.payload) else { continue };
        if let (Some(service), Some(node)) = (ServiceName::service(&answer.name), answer.metadata.get(NODE)) {
            let labels = answer.metadata.get(LABELS).map(|text| text.parse::<Labels>()).transpose();
            let labels = labels.unwrap_or_else(|error| {
                tracing::debug!(%error, service, node, "labels");
                None
            });
            each(Present { service: service.to_owned(), node: node.clone(), labels: labels.unwrap_or_default() });
        }
    }
    Ok(())
}

/// Where an announcement says its node.
pub(super) const NODE: &str = "node";
/// Where it says the labels, if there are any.
pub(super) const LABELS: &str = "labels";
