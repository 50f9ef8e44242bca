//! This node's pods, watched at the Kubernetes API server: who lives at which address.
//!
//! Only this node's: the API server picks them by `spec.nodeName`. What lives elsewhere its own node's agent tells.

mod owner;
mod pod;
mod pods;

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use http::Response;
use kube::client::ClientBuilder;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config};
use synscope_bus::life::Life;
use synscope_bus::reasons::reasons;
use tower::util::MapResponseLayer;

use crate::own::Own;
use pod::Pod;
use pods::Pods;

/// What is concerned where the API server cannot be asked.
pub const CONCERNED: &str = "kubernetes";

/// Between two looks for how to reach the API server.
const CONFIGURE_AGAIN: Duration = Duration::from_secs(10);
/// Length of one watch, seconds: a connection that died without a word is known as dead a little later.
const WATCH_S: u32 = 120;
/// What the API server answers to who wants to go on from where it has forgotten.
const GONE: u16 = 410;
/// Until the API server has taken a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Keeps who lives here as the API server says, until dropped. As long as it is away, names stay as they are.
pub async fn follow(life: Life, own: Own, node: String) {
    loop {
        // In a pod its service account, else a kubeconfig.
        match Config::infer().await {
            Ok(config) => return watch(life, own, node, config).await,
            Err(error) => life.degrade(CONCERNED, reasons(&error)),
        }
        tokio::time::sleep(CONFIGURE_AGAIN).await;
    }
}

/// The same, with the API server known.
pub async fn watch(life: Life, own: Own, node: String, config: Config) {
    let client = match client(&life, config) {
        Ok(client) => client,
        // Whoever configured it wrongly starts the service again.
        Err(error) => return life.degrade(CONCERNED, reasons(&error)),
    };
    let selected = watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .timeout(WATCH_S)
        // From the API server's memory: a list of the store's newest reads all nodes' pods there.
        .any_semantic();
    let mut events = pin!(watcher(Api::<Pod>::all(client), selected).default_backoff());
    let mut pods = Pods::new(own, &node);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => pods.take(event),
            Err(watcher::Error::WatchError(status)) if status.code == GONE => {
                tracing::debug!("the watch is too far behind: pods are listed again");
            }
            // Its text has those of its sources.
            Err(error) => life.degrade(CONCERNED, error.to_string()),
        }
    }
}

/// A client that notes each answer: a watch that goes on tells nothing until something happens.
fn client(life: &Life, mut config: Config) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT);
    let answered = answered(life.clone());
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(answered)).build())
}

fn answered<B>(life: Life) -> impl Fn(Response<B>) -> Response<B> + Clone {
    move |response| {
        if response.status().is_success() {
            life.recover(CONCERNED);
        }
        response
    }
}
