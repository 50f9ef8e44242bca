//! Documents in key-value buckets: JSON, so that `nats kv get` and `nats kv put` read and write them too.

use std::marker::PhantomData;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, KeyValueError};
use async_nats::jetstream::{self, ErrorCode, kv};
use futures::{StreamExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::configuration::{self, UnknownKey};
use crate::connection::Connection;
use crate::message::incident::Incident;
use crate::reasons::reasons;
use crate::streams::{Bucket, StreamError};

/// Between two attempts to watch, and between two looks at whether the connection is still the same.
const WATCH_AGAIN: Duration = Duration::from_millis(500);

/// A kind of document, and the bucket it lives in.
pub trait Document: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The bucket.
    const BUCKET: Bucket;

    /// A document with every key there is, where a key beside them is a mistake of whoever wrote it; none where it is a
    /// newer version's.
    fn every_key() -> Option<Self> {
        None
    }
}

/// What a node is asked to be like; what is none is left to the node's own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Desired {
    /// Capacity of each connection table, entries.
    pub conntrack_entries: Option<u32>,
}

impl Document for Desired {
    const BUCKET: Bucket = Bucket::Desired;

    fn every_key() -> Option<Self> {
        Some(Self::default())
    }
}

impl Document for Incident {
    const BUCKET: Bucket = Bucket::Incidents;
}

/// Why a document could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The bucket is not there.
    #[error(transparent)]
    Bucket(#[from] StreamError),
    /// Whether there is a bucket cannot be told.
    #[error("bucket {bucket} cannot be opened")]
    Open {
        /// The bucket.
        bucket: &'static str,
        /// What went wrong.
        source: KeyValueError,
    },
    /// The server did not answer.
    #[error("{key}: the server did not answer")]
    Read {
        /// The document.
        key: String,
        /// What went wrong.
        source: kv::EntryError,
    },
    /// The keys could not be listed.
    #[error("the documents cannot be listed")]
    List {
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is no document of this kind.
    #[error("{key} is no valid document")]
    Foreign {
        /// The document.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It has a key that its kind has not.
    #[error("{document} is no valid document")]
    Unknown {
        /// The document.
        document: String,
        /// The key.
        source: UnknownKey,
    },
    /// Someone else changed it since it was read.
    #[error("{key} was changed by someone else meanwhile: read it again")]
    Conflict {
        /// The document.
        key: String,
    },
    /// It could not be written.
    #[error("{key} cannot be written")]
    Write {
        /// The document.
        key: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// All documents of one kind.
#[derive(Debug)]
pub struct Documents<D> {
    store: kv::Store,
    kind: PhantomData<fn() -> D>,
}

impl<D: Document> Documents<D> {
    /// Opens the bucket, making it if it is not there.
    pub async fn open(connection: &Connection) -> Result<Self, DocumentError> {
        let jetstream = jetstream::new(connection.client().clone());
        Ok(Self { store: D::BUCKET.ensure(&jetstream).await?, kind: PhantomData })
    }

    /// Opens the bucket if it is there; none where nobody made it.
    pub async fn existing(connection: &Connection) -> Result<Option<Self>, DocumentError> {
        let jetstream = jetstream::new(connection.client().clone());
        match jetstream.get_key_value(D::BUCKET.name()).await {
            Ok(store) => Ok(Some(Self { store, kind: PhantomData })),
            Err(error) if was_never_made(&error) => Ok(None),
            Err(source) => Err(DocumentError::Open { bucket: D::BUCKET.name(), source }),
        }
    }

    /// When the bucket was made: another time is another bucket, which knows nothing of what was written before.
    pub fn made(&self) -> OffsetDateTime {
        self.store.stream.cached_info().created
    }

    /// The document and its revision; none when there is none.
    pub async fn get(&self, key: &str) -> Result<Option<(D, u64)>, DocumentError> {
        let entry = self.store.entry(key).await.map_err(|source| DocumentError::Read { key: key.into(), source })?;
        match entry {
            Some(entry) if entry.operation == kv::Operation::Put => Ok(Some((read(&entry)?, entry.revision))),
            _ => Ok(None),
        }
    }

    /// The keys of all documents that are there.
    pub async fn keys(&self) -> Result<Vec<String>, DocumentError> {
        let unread = |source: Box<dyn std::error::Error + Send + Sync>| DocumentError::List { source };
        let keys = self.store.keys().await.map_err(|error| unread(error.into()))?;
        keys.try_collect().await.map_err(|error| unread(error.into()))
    }

    /// All documents that are there, by key. One that is not valid is logged and left out.
    pub async fn all(&self) -> Result<Vec<(String, D)>, DocumentError> {
        let mut all = Vec::new();
        for key in self.keys().await? {
            match self.get(&key).await {
                Ok(Some((document, _revision))) => all.push((key, document)),
                Ok(None) => {}
                Err(error @ (DocumentError::Foreign { .. } | DocumentError::Unknown { .. })) => {
                    tracing::warn!(key, error = &error as &dyn std::error::Error, "a document is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Writes it whatever was there; for documents with one writer.
    pub async fn put(&self, key: &str, document: &D) -> Result<u64, DocumentError> {
        let value = write(key, document)?;
        let written = self.store.put(key, value.into()).await;
        written.map_err(|source| DocumentError::Write { key: key.into(), source: source.into() })
    }

    /// Writes it if it is still what was read: `revision` is [`Documents::get`]'s, 0 where there was none.
    pub async fn compare_and_set(&self, key: &str, document: &D, revision: u64) -> Result<u64, DocumentError> {
        let value = write(key, document)?;
        self.store.update(key, value.into(), revision).await.map_err(|source| match source.kind() {
            kv::UpdateErrorKind::WrongLastRevision => DocumentError::Conflict { key: key.into() },
            _ => DocumentError::Write { key: key.into(), source: source.into() },
        })
    }

    /// Removes it.
    pub async fn delete(&self, key: &str) -> Result<(), DocumentError> {
        let deleted = self.store.delete(key).await;
        deleted.map_err(|source| DocumentError::Write { key: key.into(), source: source.into() })
    }

    async fn watch(&self, key: &str) -> Option<kv::Watch> {
        // `>` watches them all.
        match self.store.watch_with_history(key).await {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::debug!(key, %error, "cannot watch yet");
                None
            }
        }
    }
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<D> {
    /// It is so now.
    Put {
        /// Its key.
        key: String,
        /// It.
        document: D,
        /// Its revision.
        revision: u64,
    },
    /// It is gone.
    Gone {
        /// Its key.
        key: String,
    },
    /// It is no document of this kind.
    Foreign {
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Follows all documents under `key` (`>` for all), those that are there first, through lost connections, until
/// dropped. A document that is not valid is logged, too.
pub async fn follow<D: Document>(connection: &Connection, key: &str, mut each: impl FnMut(Seen<D>)) {
    loop {
        connection.connected().await;
        let life = connection.life();
        let watch = match Documents::<D>::open(connection).await {
            Ok(documents) => documents.watch(key).await,
            Err(error) => {
                tracing::debug!(%error, "cannot open the bucket yet");
                None
            }
        };
        if let Some(mut watch) = watch {
            // A watch may outlive its server silently; a new life begins a new one.
            while connection.life() == life {
                match timeout(WATCH_AGAIN, watch.next()).await {
                    Ok(Some(Ok(entry))) => tell(&entry, &mut each),
                    // The client's streams panic when they are polled after some of their errors (async-nats 0.51,
                    // jetstream/consumer/push.rs), so none is asked again after any.
                    Ok(Some(Err(error))) => {
                        tracing::debug!(key, %error, "watch");
                        break;
                    }
                    Ok(None) => break,
                    Err(_elapsed) => {}
                }
            }
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

fn was_never_made(error: &KeyValueError) -> bool {
    let stream = std::error::Error::source(error).and_then(|source| source.downcast_ref::<GetStreamError>());
    matches!(stream.map(GetStreamError::kind), Some(GetStreamErrorKind::JetStream(error))
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn tell<D: Document>(entry: &kv::Entry, each: &mut impl FnMut(Seen<D>)) {
    if entry.operation != kv::Operation::Put {
        return each(Seen::Gone { key: entry.key.clone() });
    }
    match read(entry) {
        Ok(document) => each(Seen::Put { key: entry.key.clone(), document, revision: entry.revision }),
        Err(error) => {
            let why = reasons(&error);
            tracing::warn!(bucket = entry.bucket, why, "a document is left out");
            each(Seen::Foreign { key: entry.key.clone(), why });
        }
    }
}

fn read<D: Document>(entry: &kv::Entry) -> Result<D, DocumentError> {
    let foreign = |source| DocumentError::Foreign { key: entry.key.clone(), source };
    if let Some(every_key) = D::every_key() {
        let given = serde_json::from_slice(&entry.value).map_err(foreign)?;
        let known = serde_json::to_value(every_key).map_err(foreign)?;
        let unknown = |source| DocumentError::Unknown { document: entry.key.clone(), source };
        configuration::refuse_unknown(&given, &known).map_err(unknown)?;
    }
    serde_json::from_slice(&entry.value).map_err(foreign)
}

fn write<D: Document>(key: &str, document: &D) -> Result<Vec<u8>, DocumentError> {
    serde_json::to_vec_pretty(document)
        .map_err(|source| DocumentError::Write { key: key.into(), source: Box::new(source) })
}
