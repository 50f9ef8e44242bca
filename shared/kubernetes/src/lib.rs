//! Watching objects at the Kubernetes API server, through everything that happens to it.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use http::Response;
pub use k8s_openapi;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
pub use kube;
pub use kube::Config;
use kube::client::ClientBuilder;
pub use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use synscope_bus::life::Life;
use synscope_bus::reasons::reasons;
use tower::util::MapResponseLayer;

/// What is concerned where the API server cannot be asked.
pub const CONCERNED: &str = "kubernetes";

/// Between two looks for how to reach the API server.
const CONFIGURE_AGAIN: Duration = Duration::from_secs(10);
/// Length of one watch, seconds: a connection that died without a word is known as dead a little later.
const WATCH_S: u32 = 120;
/// Until the API server has taken a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// What the API server answers to who wants to go on from where it has forgotten.
const GONE: u16 = 410;

/// An object that is watched, of a kind that is known by its type.
pub trait Watched: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static {}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static> Watched for K {}

/// Makes a type with a field `metadata` an object of the API's core, version 1, that lives in namespaces.
#[macro_export]
macro_rules! core_object {
    ($object:ty, $kind:literal, $plural:literal) => {
        impl $crate::kube::Resource for $object {
            type DynamicType = ();
            type Scope = $crate::k8s_openapi::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                "".into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &$crate::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut $crate::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// Where the API server is, as `kubectl` finds it: by a kubeconfig, else by the pod's service account. Asked again until
/// there is an answer; the health says why there is none.
pub async fn configuration(life: &Life) -> Config {
    loop {
        match Config::infer().await {
            Ok(config) => return config,
            Err(error) => life.degrade(CONCERNED, reasons(&error)),
        }
        tokio::time::sleep(CONFIGURE_AGAIN).await;
    }
}

/// Hands over what happens to objects of a kind, those whose fields are so or all, until dropped. While the API server is
/// away nothing happens, which the health says; then it goes on from there, or lists all anew.
pub async fn watch<K: Watched>(life: &Life, config: Config, fields: Option<&str>, mut each: impl FnMut(Event<K>)) {
    let client = match client(life, config) {
        Ok(client) => client,
        // Whoever configured it wrongly starts the service again.
        Err(error) => return life.degrade(CONCERNED, reasons(&error)),
    };
    // From the API server's memory: for a list of the newest it reads all objects in its store, whatever is selected.
    let selected = watcher::Config::default().timeout(WATCH_S).any_semantic();
    let selected = fields.map_or(selected.clone(), |fields| selected.fields(fields));
    let mut events = pin!(watcher(Api::<K>::all(client), selected).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => each(event),
            Err(watcher::Error::WatchError(status)) if status.code == GONE => {
                tracing::debug!("the watch is too far behind: all is listed again");
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
