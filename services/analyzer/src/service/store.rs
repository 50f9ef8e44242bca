//! Where incidents go: a bucket, which the API serves and a restart begins with, and a stream of events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use synscope_bus::document::{DocumentError, Documents};
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::Life;
use synscope_bus::message::incident::Incident;
use synscope_bus::outbox::Outbox;
use synscope_bus::subject::{IncidentKind, NodeId, Subject};

use synscope_engine::engine::Engine;

/// What each incident subject may hold while NATS is away.
const INCIDENT_BYTES: usize = 4 << 20;
/// Between two attempts to reach what is not there.
const AGAIN: Duration = Duration::from_secs(1);

/// The bucket, as it was opened.
struct Bucket {
    documents: Documents<Incident>,
    /// Which connection it was opened by.
    server: (String, u64),
}

/// Where incidents go.
pub(super) struct Store<'a> {
    life: &'a Life,
    node: NodeId,
    bucket: Bucket,
    restored: Vec<Incident>,
    /// The latest state of each incident that is not in the bucket yet.
    unwritten: BTreeMap<String, Incident>,
    /// Those that are to be removed from it.
    gone: BTreeSet<String>,
    outboxes: BTreeMap<String, Arc<Outbox>>,
}

impl<'a> Store<'a> {
    /// Waits for NATS, because to begin without what was known would double every incident.
    pub(super) async fn open(life: &'a Life, node: NodeId) -> Self {
        loop {
            life.connection().connected().await;
            let opened = async {
                let bucket = open(life).await?;
                let restored = bucket.documents.all().await?.into_iter().map(|(_, incident)| incident).collect();
                Ok::<_, DocumentError>((bucket, restored))
            };
            match opened.await {
                Ok((bucket, restored)) => {
                    life.recover("incidents");
                    let (unwritten, outboxes) = (BTreeMap::new(), BTreeMap::new());
                    return Self { life, node, bucket, restored, unwritten, gone: BTreeSet::new(), outboxes };
                }
                Err(error) => life.degrade("incidents", format!("cannot be read yet: {error}")),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// What was known before this start; once.
    pub(super) fn restored(&mut self) -> Vec<Incident> {
        tracing::info!(incidents = self.restored.len(), "goes on with what was known");
        std::mem::take(&mut self.restored)
    }

    /// Notes an incident's new state.
    pub(super) fn tell(&mut self, incident: Incident) {
        match IncidentKind::new(incident.kind.as_str()) {
            Ok(kind) => {
                let (life, node) = (self.life, &self.node);
                let outbox = self.outboxes.entry(incident.kind.clone()).or_insert_with(|| {
                    let outbox =
                        Outbox::new(&Subject::Incident(kind), PublisherId::begin(node.clone()), INCIDENT_BYTES);
                    life.send(&outbox);
                    outbox
                });
                if let Err(error) = outbox.put(&incident) {
                    tracing::error!(error = &error as &dyn std::error::Error, "an incident's event is lost");
                }
            }
            Err(error) => tracing::error!(%error, "an incident's kind is no subject"),
        }
        self.unwritten.insert(incident.id.clone(), incident);
    }

    /// Notes that an incident is not remembered any more.
    pub(super) fn forget(&mut self, id: String) {
        self.unwritten.remove(&id);
        self.gone.insert(id);
    }

    /// Writes what is not in the bucket yet; all incidents, if the bucket was made anew.
    pub(super) async fn write(&mut self, engine: &Engine) {
        // Without a server each attempt would take until its deadline.
        if !self.life.connection().is_connected() {
            return;
        }
        match self.written(engine).await {
            Ok(()) => self.life.recover("incidents"),
            Err(error) => {
                self.life.degrade("incidents", format!("cannot be written yet: {error}"));
                // It may have been deleted: the next attempt opens it again.
                self.bucket.server.0.clear();
            }
        }
    }

    async fn written(&mut self, engine: &Engine) -> Result<(), DocumentError> {
        if self.bucket.server != self.life.connection().life() {
            let bucket = open(self.life).await?;
            if bucket.documents.made() != self.bucket.documents.made() {
                tracing::warn!("the bucket of incidents was made anew: all are written again");
                for incident in engine.incidents() {
                    self.unwritten.entry(incident.id.clone()).or_insert_with(|| incident.clone());
                }
            }
            self.bucket = bucket;
        }
        while let Some((id, incident)) = self.unwritten.first_key_value() {
            self.bucket.documents.put(id, incident).await?;
            self.unwritten.pop_first();
        }
        while let Some(id) = self.gone.first() {
            self.bucket.documents.delete(id).await?;
            self.gone.pop_first();
        }
        Ok(())
    }
}

async fn open(life: &Life) -> Result<Bucket, DocumentError> {
    // Asked first: what is opened by a later connection is opened again.
    let server = life.connection().life();
    Ok(Bucket { documents: Documents::open(life.connection()).await?, server })
}
