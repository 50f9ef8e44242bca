//! What the others say: who lives where, and what this node is asked to be like.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use synscope_bus::document::{self, Desired, Documents, Endpoints, Seen};
use synscope_bus::life::Life;
use tokio::sync::watch;

use crate::names::{Directory, Names};

/// Between two attempts to tell the others who lives here.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Desired state as it is now, none when there is none; or why the document is not understood.
pub type Wish = Result<Option<Desired>, String>;

/// Tells the others who lives here, and learns who lives there.
pub fn names(life: &Life, own: Endpoints) -> watch::Receiver<Arc<Names>> {
    let node = life.name().1.to_owned();
    let directory = Directory::new(&node, own.clone());
    let (tell, names) = watch::channel(Arc::new(directory.names()));
    let connection = life.connection().clone();
    let telling = connection.clone();
    tokio::spawn(async move {
        loop {
            telling.connected().await;
            let told = async { Documents::<Endpoints>::open(&telling).await?.put(&node, &own).await };
            match told.await {
                Ok(_revision) => return,
                Err(error) => tracing::debug!(%error, "endpoints are not told yet"),
            }
            tokio::time::sleep(TELL_AGAIN).await;
        }
    });
    tokio::spawn(async move {
        let directory = Mutex::new(directory);
        document::follow::<Endpoints>(&connection, ">", |seen| {
            // No code panics while it holds the lock.
            let mut directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
            match seen {
                Seen::Put { key, document, .. } => directory.set(&key, Some(document)),
                Seen::Gone { key } => directory.set(&key, None),
                // It is logged; what the node said before still holds.
                Seen::Foreign { .. } => return,
            }
            tell.send_replace(Arc::new(directory.names()));
        })
        .await;
    });
    names
}

/// Desired state of this node. The first value is no wish: it counts as seen.
pub fn desired(life: &Life) -> watch::Receiver<Wish> {
    let (tell, wishes) = watch::channel(Ok(None));
    let (connection, node) = (life.connection().clone(), life.name().1.to_owned());
    tokio::spawn(async move {
        document::follow::<Desired>(&connection, &node, |seen| {
            let wish = match seen {
                Seen::Put { document, .. } => Ok(Some(document)),
                Seen::Gone { .. } => Ok(None),
                Seen::Foreign { why, .. } => Err(why),
            };
            drop(tell.send_replace(wish));
        })
        .await;
    });
    wishes
}
