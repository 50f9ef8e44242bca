//! What the others say: who lives where, and what this node is asked to be like.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use synscope_bus::connection::Connection;
use synscope_bus::document::{self, Desired, DocumentError, Documents, Endpoints, Seen};
use synscope_bus::life::Life;
use tokio::sync::{Notify, watch};

use crate::names::{Directory, Names};

/// Between two attempts to tell the others who lives here, and between two looks whether they have to be told again.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Between two times that all names are put together.
const NAMES_AGAIN: Duration = Duration::from_millis(100);

/// Desired state as it is now, none when there is none; or why the document is not understood.
pub type Wish = Result<Option<Desired>, String>;

/// Tells the others who lives here, and learns who lives there.
pub fn names(life: &Life, own: Endpoints) -> watch::Receiver<Arc<Names>> {
    let node = life.name().1.to_owned();
    let directory = Directory::new(&node, own.clone());
    let (tell, names) = watch::channel(Arc::new(directory.names()));
    let connection = life.connection().clone();
    tokio::spawn(tell_endpoints(connection.clone(), node, own));
    tokio::spawn(async move {
        let (directory, news) = (Mutex::new(directory), Notify::new());
        // No code panics while it holds the lock.
        let directory = || directory.lock().unwrap_or_else(PoisonError::into_inner);
        let following = document::follow::<Endpoints>(&connection, ">", |seen| {
            let is_news = match seen {
                Seen::Put { key, document, .. } => directory().set(&key, Some(document)),
                Seen::Gone { key } => directory().set(&key, None),
                // It is logged; what the node said before still holds.
                Seen::Foreign { .. } => false,
            };
            if is_news {
                news.notify_one();
            }
        });
        // Putting all names together takes as long as there are names, so that is done once for many nodes' news.
        let putting_together = async {
            loop {
                news.notified().await;
                tell.send_replace(Arc::new(directory().names()));
                tokio::time::sleep(NAMES_AGAIN).await;
            }
        };
        tokio::join!(following, putting_together)
    });
    names
}

/// Tells who lives here, and again where the bucket was made anew: such a one knows nothing. That is asked of each server
/// that is connected to, for one that lost its store was started again.
async fn tell_endpoints(connection: Connection, node: String, own: Endpoints) {
    let (mut server, mut bucket) = (None, None);
    loop {
        connection.connected().await;
        let life = Some(connection.life());
        let telling = async {
            let documents = Documents::<Endpoints>::open(&connection).await?;
            if bucket != Some(documents.made()) {
                documents.put(&node, &own).await?;
                bucket = Some(documents.made());
            }
            Ok::<_, DocumentError>(())
        };
        if server != life {
            match telling.await {
                Ok(()) => server = life,
                Err(error) => tracing::debug!(%error, "endpoints are not told yet"),
            }
        }
        tokio::time::sleep(TELL_AGAIN).await;
    }
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
