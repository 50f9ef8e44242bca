//! Following documents while the runtime that carries the connection shuts down.

use std::sync::mpsc;
use std::time::Duration;

use synscope_bus::document::{self, Desired, Documents};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::nats::{Server, free_port};
use crate::{DEADLINE, connected};

/// A process that ends drops the connection's task while others still run: the follower goes on without it.
#[test]
fn a_follower_outlives_the_task_of_its_connection() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let (connections, followers) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let connection = connections.block_on(async {
        let connection = connected(port).await;
        let documents = Documents::<Desired>::open(&connection).await.unwrap();
        documents.put("node-a", &Desired::default()).await.unwrap();
        connection
    });
    let (tell, told) = mpsc::channel();
    let mut following = followers.spawn(async move {
        document::follow::<Desired>(&connection, ">", |seen| tell.send(seen).unwrap()).await;
    });
    told.recv_timeout(DEADLINE).unwrap();

    drop(connections);
    // Longer than it waits before it watches again.
    let ended = followers.block_on(async { timeout(Duration::from_secs(2), &mut following).await });
    assert!(ended.is_err(), "{ended:?}");
}
