//! What the bus promises over a real nats-server: one program, because each would carry all of the bus.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../nats/mod.rs"]
mod nats;

mod follow;
mod outbox;
mod reader;
mod stored;
mod subscriber;

use std::time::Duration;

use synscope_bus::connection::Connection;
use synscope_bus::subject::NodeId;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

fn node() -> NodeId {
    NodeId::new("node-a").unwrap()
}

/// Whether or not the server is there.
async fn connect(port: u16) -> Connection {
    Connection::start(&format!("nats://127.0.0.1:{port}"), "test").await.unwrap()
}

async fn connected(port: u16) -> Connection {
    let connection = connect(port).await;
    timeout(DEADLINE, connection.connected()).await.unwrap();
    connection
}
