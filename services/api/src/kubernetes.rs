//! Names of Kubernetes' services: watched here, because every node would burden the API server with it, and told to all
//! nodes through a bucket.
//!
//! Several instances may do that at once. Each writes only what it hears of, and only where the bucket says otherwise, so
//! one whose view is old writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use synscope_bus::document::{DocumentError, Documents};
use synscope_bus::life::Life;
use synscope_bus::service::Service;
use synscope_kubernetes::{Config, Event, ObjectMeta, core_object};
use time::OffsetDateTime;
use tokio::sync::Notify;

/// Between two attempts to tell, and between two looks whether the bucket is still the same.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Services at most: many times what clusters are tested with.
const SERVICES_MAX: usize = 50_000;
/// What is concerned where there are more.
const CONCERNED: &str = "kubernetes services";

/// A service as the API server has it, as far as it concerns names.
#[derive(Clone, Debug, Deserialize)]
struct Object {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

core_object!(Object, "Service", "services");

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    /// `None` where it has none: its name stands for those of its backends then.
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
}

#[derive(Debug, Default)]
struct Wanted {
    services: BTreeMap<String, Service>,
    /// Keys whose document may be another in the bucket.
    untold: BTreeSet<String>,
    /// Those of the list that is being read.
    listed: BTreeSet<String>,
    /// All are known, and whatever else is in the bucket is of services that are gone.
    is_complete: bool,
}

/// Follows the services of the cluster, until dropped.
pub async fn follow(life: Life, config: Config) {
    let (wanted, news) = (Arc::new(Mutex::new(Wanted::default())), Notify::new());
    let watching = synscope_kubernetes::watch(&life, config, None, |event| {
        if let Err(refused) = lock(&wanted).take(event) {
            life.degrade(CONCERNED, format!("{refused} and more have no name: there are more than {SERVICES_MAX}"));
        }
        news.notify_one();
    });
    tokio::join!(watching, tell(&life, &wanted, &news));
}

impl Object {
    fn key(&self) -> String {
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        format!("{}.{}", namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
    }

    fn service(&self) -> Service {
        let Spec { cluster_ip, cluster_ips } = &self.spec;
        let one = cluster_ip.iter().filter(|_| cluster_ips.is_empty());
        let since = self.metadata.creation_timestamp.as_ref();
        Service {
            addresses: cluster_ips.iter().chain(one).filter_map(|text| text.parse().ok()).collect(),
            since_unix_ns: since.and_then(|time| u64::try_from(time.0.as_nanosecond()).ok()).unwrap_or(0),
        }
    }
}

impl Wanted {
    /// Takes what the API server says; gives back the key that there was no room for.
    fn take(&mut self, event: Event<Object>) -> Result<(), String> {
        match event {
            Event::Apply(object) => return self.put(&object),
            Event::Delete(object) => self.remove(object.key()),
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                self.listed.insert(object.key());
                return self.put(&object);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<_> = self.services.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                for key in gone {
                    self.remove(key);
                }
                self.is_complete = true;
            }
        }
        Ok(())
    }

    fn put(&mut self, object: &Object) -> Result<(), String> {
        let (key, service) = (object.key(), object.service());
        // One without an address is told nothing of.
        if service.addresses.is_empty() {
            self.remove(key);
        } else if self.services.len() >= SERVICES_MAX && !self.services.contains_key(&key) {
            return Err(key);
        } else if self.services.get(&key) != Some(&service) {
            self.services.insert(key.clone(), service);
            self.untold.insert(key);
        }
        Ok(())
    }

    fn remove(&mut self, key: String) {
        if self.services.remove(&key).is_some() {
            self.untold.insert(key);
        }
    }
}

/// Makes the bucket say what is wanted. One that was made anew knows nothing; what is in one that was not may be old.
async fn tell(life: &Life, wanted: &Mutex<Wanted>, news: &Notify) {
    let mut reconciled: Option<OffsetDateTime> = None;
    loop {
        life.connection().connected().await;
        if lock(wanted).is_complete
            && let Err(error) = tell_news(life, wanted, &mut reconciled).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "services are not told yet");
            reconciled = None;
            tokio::time::sleep(TELL_AGAIN).await;
        }
        let _waited = tokio::time::timeout(TELL_AGAIN, news.notified()).await;
    }
}

async fn tell_news(
    life: &Life,
    wanted: &Mutex<Wanted>,
    reconciled: &mut Option<OffsetDateTime>,
) -> Result<(), DocumentError> {
    let documents = Documents::<Service>::open(life.connection()).await?;
    let mut keys = std::mem::take(&mut lock(wanted).untold);
    if *reconciled != Some(documents.made()) {
        keys.extend(documents.keys().await?);
        keys.extend(lock(wanted).services.keys().cloned());
    }
    for key in keys {
        let service = lock(wanted).services.get(&key).cloned();
        let there = match documents.get(&key).await {
            Ok(there) => there.map(|(document, _revision)| document),
            // Whatever it is, it is none that is wanted.
            Err(DocumentError::Foreign { .. }) => Some(Service::default()),
            Err(error) => return Err(error),
        };
        match service {
            Some(service) if there.as_ref() != Some(&service) => drop(documents.put(&key, &service).await?),
            None if there.is_some() => documents.delete(&key).await?,
            _ => {}
        }
    }
    *reconciled = Some(documents.made());
    Ok(())
}

fn lock(wanted: &Mutex<Wanted>) -> MutexGuard<'_, Wanted> {
    // No code panics while it holds the lock, so a poisoned lock still guards a whole state.
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}
