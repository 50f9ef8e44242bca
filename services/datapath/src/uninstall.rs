//! Taking off all that outlives the process.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use synscope_bus::connection::Connection;
use synscope_bus::document::{DocumentError, Documents};
use synscope_bus::endpoint::Endpoint;
use synscope_bus::permissions::Identity;
use tokio::time::timeout;

use crate::agent;
use crate::attach::{self, Removed};
use crate::pins;
use crate::settings::Settings;

/// How long NATS may take to forget the node.
const FORGET: Duration = Duration::from_secs(3);

/// Takes off what outlives the process: pinned links and tables, filters where there is no tcx, with the queueing
/// disciplines that were made for them, and what the agent told the others through NATS.
pub async fn run(settings: Settings) -> Result<()> {
    let node = settings.node_id()?;
    let connection = Connection::start(&settings.nats, &Identity::Datapath(node.clone()).to_string()).await?;
    let from_node = thread::Builder::new().name("uninstall".to_owned()).spawn(move || {
        // What is noted among the pins says whose a queueing discipline is. The pins go in any case.
        let removed = from_interfaces(&settings);
        pins::remove(&settings.pins)?;
        removed
    });
    let removed =
        from_node.context("cannot start a thread")?.join().map_err(|_panic| anyhow!("the thread panicked"))?;
    match timeout(FORGET, from_nats(&connection, node.as_str())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%node, error, "what NATS knows of the node stays");
        }
        Err(_elapsed) => tracing::warn!(%node, "NATS is away: what it knows of the node stays"),
    }
    let Removed { filters, qdiscs } = removed?;
    tracing::info!(filters, qdiscs, "uninstalled");
    Ok(())
}

/// On a thread of its own, which ends in the node's network namespace.
fn from_interfaces(settings: &Settings) -> Result<Removed> {
    if let Some(netns) = &settings.netns {
        agent::enter(netns)?;
    }
    Ok(attach::remove(&settings.pins)?)
}

/// Removes what the agent itself wrote. What the node is asked to be like is the operator's.
async fn from_nats(connection: &Connection, node: &str) -> Result<(), DocumentError> {
    connection.connected().await;
    match Documents::<Endpoint>::existing(connection).await? {
        Some(endpoints) => {
            let below = format!("{node}.");
            for key in endpoints.keys().await?.iter().filter(|key| key.starts_with(&below)) {
                endpoints.delete(key).await?;
            }
            Ok(())
        }
        None => Ok(()),
    }
}
