//! What a service says about itself to whoever asks on the same node: `synscope-datapath health`.
//!
//! It listens on an abstract Unix socket: that is no file, so a read-only root file system will do; it belongs to the
//! network namespace that the process was started in, as a port does; and it is gone with the process, also after
//! kill -9.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::life::{Health, Life, Phase};
use crate::subject::NodeId;

/// Askers that are answered at once; others wait until one of these is done.
const AT_ONCE: usize = 8;
/// How long one asker is waited for, and how long an asker waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts to listen, or to accept.
const AGAIN: Duration = Duration::from_secs(1);
/// More is no health.
const BYTES_MAX: u64 = 1 << 20;

/// Asks the running service how it is: prints its health as JSON, and fails unless it is ready.
#[derive(Debug, Clone, Copy, Args)]
pub struct Question {
    /// It need not be ready, only answer.
    #[arg(long)]
    live: bool,
}

/// Why a service is not well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nobody listens, or they hung up.
    #[error("{service} of {node} does not answer in this network namespace")]
    Silent {
        /// The service.
        service: &'static str,
        /// Its node.
        node: NodeId,
        /// What happened.
        source: io::Error,
    },
    /// It took too long.
    #[error("{service} of {node} did not answer within {} s", PATIENCE.as_secs())]
    Late {
        /// The service.
        service: &'static str,
        /// Its node.
        node: NodeId,
    },
    /// Any process may take a name that is free.
    #[error("it was user {uid} who answered as {service} of {node}, neither root nor us")]
    Foreign {
        /// The service.
        service: &'static str,
        /// Its node.
        node: NodeId,
        /// Who answered.
        uid: u32,
    },
    /// The answer is no health.
    #[error("what {service} of {node} answered is no health")]
    Unreadable {
        /// The service.
        service: &'static str,
        /// Its node.
        node: NodeId,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It answers, and is not ready.
    #[error("{service} of {node} is not ready: {phase:?}")]
    NotReady {
        /// The service.
        service: &'static str,
        /// Its node.
        node: NodeId,
        /// Where it stands.
        phase: Phase,
    },
}

/// Where a service listens. Abstract, as it begins with a zero byte.
fn address(service: &str, node: &str) -> String {
    format!("\0synscope-{service}-{node}")
}

/// Answers until the process ends. It listens when this returns, unless another process of the same service and node has
/// not ended yet: then from that one's end on.
pub fn serve(life: &Life) {
    let (service, node) = life.name();
    let address = address(service, node);
    // Now, on this thread: others may be in another network namespace.
    let first = UnixListener::bind(&address);
    let life = life.clone();
    tokio::spawn(async move {
        let listener = match first {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "another process may answer for us when asked for our health");
                listen_later(&address).await
            }
        };
        accept(&listener, &life).await;
    });
}

async fn listen_later(address: &str) -> UnixListener {
    loop {
        sleep(AGAIN).await;
        if let Ok(listener) = UnixListener::bind(address) {
            return listener;
        }
    }
}

async fn accept(listener: &UnixListener, life: &Life) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((asker, _address)) => {
                let life = life.clone();
                tokio::spawn(async move {
                    // An asker that hangs up or does not read is no concern of the service's.
                    drop(timeout(PATIENCE, answer(asker, &life)).await);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a question for our health");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn answer(mut asker: UnixStream, life: &Life) -> io::Result<()> {
    asker.write_all(&serde_json::to_vec(&life.health())?).await?;
    asker.shutdown().await
}

/// Asks a service in this network namespace.
pub async fn ask(service: &'static str, node: &NodeId) -> Result<Health, HealthError> {
    let asked = timeout(PATIENCE, async {
        let stream = UnixStream::connect(address(service, node.as_str())).await?;
        let uid = stream.peer_cred()?.uid();
        let mut text = Vec::new();
        stream.take(BYTES_MAX).read_to_end(&mut text).await?;
        Ok((uid, text))
    });
    let node = node.clone();
    let (uid, text) = match asked.await {
        Ok(Ok(answered)) => answered,
        Ok(Err(source)) => return Err(HealthError::Silent { service, node, source }),
        Err(_elapsed) => return Err(HealthError::Late { service, node }),
    };
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        return Err(HealthError::Foreign { service, node, uid });
    }
    serde_json::from_slice(&text).map_err(|source| HealthError::Unreadable { service, node, source })
}

impl Question {
    /// Prints what the service answers; an error where that is not good enough.
    #[allow(clippy::print_stdout, reason = "whoever asked reads it")]
    pub async fn put(self, service: &'static str, node: NodeId) -> Result<(), HealthError> {
        let health = ask(service, &node).await?;
        match serde_json::to_string(&health) {
            Ok(text) => println!("{text}"),
            Err(source) => return Err(HealthError::Unreadable { service, node, source }),
        }
        match health.phase {
            Phase::Ready => Ok(()),
            _ if self.live => Ok(()),
            phase => Err(HealthError::NotReady { service, node, phase }),
        }
    }
}
