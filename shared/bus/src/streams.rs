//! What `JetStream` keeps: streams and key-value buckets, with their limits.
//!
//! Whoever needs one first makes it; one that exists already is left as it is, so that an operator's limits stay.

use std::time::Duration;

use async_nats::jetstream::{self, Context, context, kv, stream};

use crate::connection::Connection;
use crate::endpoint::ENDPOINT_AGE;
use crate::reasons::reasons;
use crate::subject::{Subject, Wildcard};

/// Between two looks whether there is another server, which may know nothing yet.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const GIB: i64 = 1 << 30;
const HOUR: Duration = Duration::from_hours(1);
/// Server versions before this one refuse what the buckets ask for.
pub const SERVER_MIN: (i64, i64) = (2, 10);

/// Why a stream or bucket is not there.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server refused a stream, or has no `JetStream`.
    #[error("stream {name}: is nats-server 2.10 or newer running with JetStream (-js)?")]
    Stream {
        /// The stream.
        name: &'static str,
        /// What the server said.
        source: context::CreateStreamError,
    },
    /// The server refused a bucket.
    #[error("bucket {name}: is nats-server 2.10 or newer running with JetStream (-js)?")]
    Bucket {
        /// The bucket.
        name: &'static str,
        /// What the server said.
        source: context::CreateKeyValueError,
    },
}

/// A stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Slow, retried, refused and failed flows: the evidence.
    Slows,
    /// Counts and sketches per edge.
    Edges,
    /// Signals of the nodes.
    Signals,
    /// Incidents, each time they change.
    Incidents,
    /// Who asked for changes.
    Audit,
}

impl Stream {
    /// All streams.
    pub const ALL: [Self; 5] = [Self::Slows, Self::Edges, Self::Signals, Self::Incidents, Self::Audit];

    /// The stream's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slows => "SYNSCOPE_SLOWS",
            Self::Edges => "SYNSCOPE_EDGES",
            Self::Signals => "SYNSCOPE_SIGNALS",
            Self::Incidents => "SYNSCOPE_INCIDENTS",
            Self::Audit => "SYNSCOPE_AUDIT",
        }
    }

    /// The stream that keeps what is published there; none for what is not kept.
    pub const fn of(subject: &Subject) -> Option<Self> {
        match subject {
            Subject::Flow(_) | Subject::Trace(..) => None,
            Subject::Slow(_) => Some(Self::Slows),
            Subject::Edge(..) => Some(Self::Edges),
            Subject::Signal(_) => Some(Self::Signals),
            Subject::Incident(_) => Some(Self::Incidents),
            Subject::Audit => Some(Self::Audit),
        }
    }

    /// What it keeps, how long and how much; the oldest goes first.
    pub fn config(self) -> stream::Config {
        let (subjects, max_age, max_bytes) = match self {
            Self::Slows => (Wildcard::Slows, 24 * HOUR, GIB),
            Self::Edges => (Wildcard::Edges, 4 * HOUR, 2 * GIB),
            Self::Signals => (Wildcard::Signals, 4 * HOUR, GIB),
            Self::Incidents => (Wildcard::Incidents, 30 * 24 * HOUR, GIB / 4),
            Self::Audit => (Wildcard::Audit, 365 * 24 * HOUR, GIB / 4),
        };
        stream::Config {
            name: self.name().into(),
            subjects: vec![subjects.to_string()],
            max_age,
            max_bytes,
            discard: stream::DiscardPolicy::Old,
            storage: stream::StorageType::File,
            duplicate_window: Duration::from_mins(2),
            allow_direct: true,
            ..stream::Config::default()
        }
    }

    /// The stream, made if it is not there.
    pub async fn ensure(self, jetstream: &Context) -> Result<stream::Stream, StreamError> {
        let made = jetstream.get_or_create_stream(self.config()).await;
        made.map_err(|source| StreamError::Stream { name: self.name(), source })
    }
}

/// Makes all streams and buckets that are not there, at each server that is connected to, until dropped: nodes may not,
/// where there are credentials.
pub async fn keep_made(connection: &Connection) {
    let mut made = None;
    loop {
        connection.connected().await;
        let life = Some(connection.life());
        if made != life {
            match make_all(connection).await {
                Ok(()) => made = life,
                Err(error) => tracing::debug!(why = reasons(&error), "streams and buckets are not made yet"),
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn make_all(connection: &Connection) -> Result<(), StreamError> {
    let jetstream = jetstream::new(connection.client().clone());
    for stream in Stream::ALL {
        stream.ensure(&jetstream).await?;
    }
    for bucket in Bucket::ALL {
        bucket.ensure(&jetstream).await?;
    }
    Ok(())
}

/// A bucket of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Desired state; one document per node.
    Desired,
    /// Which address is which workload; one document per node and address.
    Endpoints,
    /// Incidents; one document each.
    Incidents,
    /// Which addresses are which service's; one document per service.
    Services,
}

impl Bucket {
    /// All buckets.
    pub const ALL: [Self; 4] = [Self::Desired, Self::Endpoints, Self::Incidents, Self::Services];

    /// The bucket's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Desired => "synscope-desired",
            Self::Endpoints => "synscope-endpoints",
            Self::Incidents => "synscope-incidents",
            Self::Services => "synscope-services",
        }
    }

    /// How much it keeps, and how long where documents are told again and again.
    pub fn config(self) -> kv::Config {
        let (history, max_bytes, max_age) = match self {
            Self::Desired => (16, GIB / 64, Duration::ZERO),
            Self::Endpoints => (1, GIB / 4, ENDPOINT_AGE),
            Self::Incidents => (1, GIB / 4, Duration::ZERO),
            Self::Services => (1, GIB / 16, Duration::ZERO),
        };
        kv::Config { bucket: self.name().into(), history, max_bytes, max_age, ..kv::Config::default() }
    }

    /// The bucket, made if it is not there.
    pub async fn ensure(self, jetstream: &Context) -> Result<kv::Store, StreamError> {
        if let Ok(store) = jetstream.get_key_value(self.name()).await {
            return Ok(store);
        }
        match jetstream.create_key_value(self.config()).await {
            Ok(store) => Ok(store),
            // Two services that start together both try; the second finds it made.
            Err(source) => {
                let made = jetstream.get_key_value(self.name()).await.ok();
                made.ok_or(StreamError::Bucket { name: self.name(), source })
            }
        }
    }
}
