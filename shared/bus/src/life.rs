//! A service's life: it starts, is ready, drains and ends; what it can't do meanwhile is said by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::outbox::{Counts, Outbox};

/// How long draining may take.
pub const DRAIN: Duration = Duration::from_secs(4);

/// Where a service stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not useful yet.
    #[default]
    Starting,
    /// Doing its work, perhaps with degradations.
    Ready,
    /// Told to end; sends what it holds.
    Draining,
    /// A phase that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

/// What a service says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Health {
    /// The service, such as `datapath`.
    pub service: String,
    /// The node or instance.
    pub node: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from; `unknown` when the build did not know.
    pub commit: Option<String>,
    /// Where it stands.
    pub phase: Phase,
    /// When it started, Unix ns UTC.
    pub started_unix_ns: u64,
    /// Whether a NATS server is there just now.
    pub nats_connected: bool,
    /// What it can't do, and why, by what is concerned.
    pub degradations: BTreeMap<String, String>,
    /// What became of its messages, by subject.
    pub outboxes: BTreeMap<String, Counts>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    degradations: BTreeMap<String, String>,
    outboxes: Vec<Sending>,
}

/// An outbox, and the task that sends its messages.
#[derive(Debug)]
struct Sending {
    outbox: Arc<Outbox>,
    task: AbortHandle,
}

/// The life of this process as one service.
#[derive(Debug, Clone)]
pub struct Life {
    service: &'static str,
    node: String,
    started_unix_ns: u64,
    connection: Connection,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl Life {
    /// Begins; from here on SIGTERM and SIGINT end it in order.
    pub fn begin(service: &'static str, node: &str, connection: Connection) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            stopped.cancel();
        });
        let state = State { phase: Phase::Starting, degradations: BTreeMap::new(), outboxes: Vec::new() };
        let life = Self {
            service,
            node: node.to_owned(),
            started_unix_ns: unix_now_ns(),
            connection,
            state: Arc::new(Mutex::new(state)),
            stop,
        };
        tracing::info!(service, node, version = env!("CARGO_PKG_VERSION"), commit = env!("SYNSCOPE_COMMIT"), "starts");
        Ok(life)
    }

    /// It does its work from now on.
    pub fn ready(&self) {
        self.state().phase = Phase::Ready;
        tracing::info!(service = self.service, node = self.node, "ready");
    }

    /// Notes what can't be done, and logs it when it is news.
    pub fn degrade(&self, what: &str, why: String) {
        let mut state = self.state();
        if state.degradations.get(what) != Some(&why) {
            tracing::warn!(what, why, "degraded");
            state.degradations.insert(what.to_owned(), why);
        }
    }

    /// It can be done again.
    pub fn recover(&self, what: &str) {
        if self.state().degradations.remove(what).is_some() {
            tracing::info!(what, "recovered");
        }
    }

    /// Sends an outbox's messages from now on, and counts them in the health.
    pub fn send(&self, outbox: &Arc<Outbox>) {
        let (sent, life) = (outbox.clone(), self.clone());
        let task = tokio::spawn(async move {
            let Err(error) = sent.send(&life.connection).await;
            life.degrade(sent.subject(), format!("nothing is sent: {error}"));
        });
        self.state().outboxes.push(Sending { outbox: outbox.clone(), task: task.abort_handle() });
    }

    /// Forgets an outbox that nothing is put into any more, once it is empty or `wait` is over. Gives how many messages
    /// stayed behind.
    pub async fn retire(&self, outbox: &Arc<Outbox>, wait: Duration) -> u64 {
        let emptied = tokio::time::timeout(wait, outbox.empty()).await;
        self.state().outboxes.retain(|sending| {
            let is_it = Arc::ptr_eq(&sending.outbox, outbox);
            if is_it {
                sending.task.abort();
            }
            !is_it
        });
        self.recover(outbox.subject());
        if emptied.is_ok() { 0 } else { outbox.counts().waiting }
    }

    /// Ends it from within.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Returns when it was told to end.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Gives what waits in the outboxes up to [`DRAIN`] to get out; counts what stays behind.
    pub async fn drain(&self) {
        self.state().phase = Phase::Draining;
        let outboxes: Vec<_> = self.state().outboxes.iter().map(|sending| sending.outbox.clone()).collect();
        let emptied = async {
            for outbox in &outboxes {
                outbox.empty().await;
            }
        };
        if tokio::time::timeout(DRAIN, emptied).await.is_err() {
            let lost: u64 = outboxes.iter().map(|outbox| outbox.counts().waiting).sum();
            tracing::warn!(lost, "ended with messages that could not be sent");
        }
        tracing::info!(service = self.service, node = self.node, "ended");
    }

    /// The connection to NATS.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The service and its node.
    pub fn name(&self) -> (&'static str, &str) {
        (self.service, &self.node)
    }

    /// What it says about itself.
    pub fn health(&self) -> Health {
        let state = self.state();
        let mut degradations = state.degradations.clone();
        degradations.extend(self.connection.too_old().map(|why| ("nats-server".to_owned(), why)));
        let outboxes = || state.outboxes.iter().map(|sending| &sending.outbox);
        for outbox in outboxes() {
            degradations.extend(outbox.trouble().map(|why| (outbox.subject().to_owned(), why)));
        }
        Health {
            service: self.service.to_owned(),
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: Some(env!("SYNSCOPE_COMMIT").to_owned()),
            phase: state.phase,
            started_unix_ns: self.started_unix_ns,
            nats_connected: self.connection.is_connected(),
            degradations,
            outboxes: outboxes().map(|outbox| (outbox.subject().to_owned(), outbox.counts())).collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, Unix ns UTC; 0 before 1970.
pub fn unix_now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
