//! What the others say: who lives where, and what this node is asked to be like.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use synscope_bus::connection::Connection;
use synscope_bus::document::{self, Desired, DocumentError, Documents, Seen};
use synscope_bus::endpoint::{ENDPOINT_AGE, Endpoint, EndpointKey};
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::service::Service;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::own::Own;

/// Between two attempts to tell the others who lives here, and between two looks whether they have to be told again.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Endpoints told at once.
const TOLD_AT_ONCE: usize = 16;
/// Between two times that all is told again, so that it does not age out of the bucket.
const REFRESH: Duration = Duration::from_secs(ENDPOINT_AGE.as_secs() / 3);
/// Between two looks for what the others have not told again.
const FORGET: Duration = Duration::from_mins(10);

/// Desired state as it is now, none when there is none; or why the document is not understood.
pub type Wish = Result<Option<Desired>, String>;

/// Tells the others who lives here, and learns who lives there.
pub fn names(life: &Life, own: &Own) {
    tokio::spawn(tell(life.connection().clone(), own.clone()));
    let (connection, own) = (life.connection().clone(), own.clone());
    tokio::spawn(async move {
        let following = document::follow::<Endpoint>(&connection, ">", |seen| {
            let (key, endpoint) = match seen {
                Seen::Put { key, document, .. } => (key, Some(document)),
                Seen::Gone { key } => (key, None),
                // It is logged; what the node said before still holds.
                Seen::Foreign { .. } => return,
            };
            match key.parse::<EndpointKey>() {
                Ok(EndpointKey { node, address }) if node == *own.node() => own.heard(address, endpoint),
                Ok(EndpointKey { node, address }) => own.directory().change(|names| match endpoint {
                    Some(endpoint) => names.claim(node.as_str(), address, &endpoint, unix_now_ns()),
                    None => names.release(node.as_str(), address, unix_now_ns()),
                }),
                Err(error) => tracing::debug!(%error, "an endpoint is left out"),
            }
        });
        let mut known: HashMap<String, Vec<IpAddr>> = HashMap::new();
        let serving = document::follow::<Service>(&connection, ">", |seen| {
            let (key, service) = match seen {
                Seen::Put { key, document, .. } => (key, document),
                Seen::Gone { key } => (key, Service::default()),
                Seen::Foreign { .. } => return,
            };
            if let Some(label) = Service::label(&key) {
                let before = known.remove(&key).unwrap_or_default();
                own.directory().change(|names| names.serve(&label, &before, &service, unix_now_ns()));
                if !service.addresses.is_empty() {
                    known.insert(key, service.addresses);
                }
            }
        });
        let forgetting = async {
            loop {
                tokio::time::sleep(FORGET).await;
                own.directory().change(|names| names.forget_silent(unix_now_ns()));
            }
        };
        tokio::join!(following, serving, forgetting)
    });
}

/// Tells who lives here as it changes, and all of it again from time to time and where the bucket was made anew: such a
/// one knows nothing. That is asked of each server that is connected to, for one that lost its store was started again.
async fn tell(connection: Connection, own: Own) {
    let (mut server, mut bucket, mut refreshed) = (None, None, Instant::now());
    let mut documents = None;
    loop {
        connection.connected().await;
        let life = Some(connection.life());
        if server != life {
            match Documents::<Endpoint>::open(&connection).await {
                Ok(opened) => {
                    if bucket != Some(opened.made()) {
                        bucket = Some(opened.made());
                        own.tell_all();
                    }
                    server = life;
                    documents = Some(opened);
                }
                Err(error) => tracing::debug!(%error, "endpoints are not told yet"),
            }
        }
        if refreshed.elapsed() >= REFRESH {
            refreshed = Instant::now();
            own.tell_all();
        }
        let told = match &documents {
            Some(documents) if server == Some(connection.life()) => tell_news(documents, &own).await,
            _ => false,
        };
        if told {
            // News, or a look at the server: whichever comes first.
            let _waited = timeout(TELL_AGAIN, own.news()).await;
        } else {
            tokio::time::sleep(TELL_AGAIN).await;
        }
    }
}

/// Whether all was told that was to be told.
async fn tell_news(documents: &Documents<Endpoint>, own: &Own) -> bool {
    let tell = async |(key, endpoint): (EndpointKey, Option<Endpoint>)| {
        let name = key.to_string();
        let told: Result<(), DocumentError> = match &endpoint {
            Some(endpoint) => documents.put(&name, endpoint).await.map(|_revision| ()),
            None => documents.delete(&name).await,
        };
        if let Err(error) = &told {
            tracing::debug!(%error, "an endpoint is not told yet");
            own.give_back(key.address);
        }
        told.is_ok()
    };
    let mut told = futures::stream::iter(own.take_untold()).map(tell).buffer_unordered(TOLD_AT_ONCE);
    let mut all = true;
    while let Some(told) = told.next().await {
        all &= told;
    }
    all
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
