//! The workloads one by one, in the network namespace that they are started in: `synscope-lab work order`, as a
//! container's program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use tokio::net::lookup_host;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{interval, sleep};

use crate::load::{self, Orders, SLOW};
use crate::report::say;
use crate::scenario::AT_ONCE;

/// Between two lines of what `order` got to see.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// One workload.
#[derive(Debug, Subcommand)]
pub(crate) enum Work {
    /// Connects, asks once and hangs up, again and again.
    Order {
        /// Whom, such as `inventory:80`.
        #[arg(long)]
        to: String,
        /// How often.
        #[arg(long, default_value_t = 40)]
        every_ms: u64,
    },
    /// Wants many connections at once, keeps them for a while, and comes back.
    Batch {
        /// Whom, such as `sink:9000`.
        #[arg(long)]
        to: String,
        /// How many.
        #[arg(long, default_value_t = 3000)]
        connections: usize,
        /// From the beginning of one burst to the next.
        #[arg(long, default_value_t = 20)]
        every_s: u64,
        /// How long a burst lasts.
        #[arg(long, default_value_t = 5)]
        for_s: u64,
    },
    /// Answers whoever asks, at once.
    Serve {
        /// Where.
        #[arg(long)]
        listen: SocketAddr,
        /// Connections that may wait to be accepted.
        #[arg(long, default_value_t = 4096)]
        backlog: i32,
    },
    /// Does nothing: its container's network namespace is a node, which lasts as long as it.
    Pause,
}

impl Work {
    /// Works until it is told to end.
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            // A container's first process ends at no signal that it does not ask for.
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            tokio::select! {
                ended = self.go_on() => ended,
                _ = term.recv() => Ok(()),
                _ = int.recv() => Ok(()),
            }
        })
    }

    async fn go_on(self) -> Result<()> {
        match self {
            Self::Order { to, every_ms } => {
                let orders = Arc::new(Orders::default());
                spawn_local(tell(orders.clone()));
                load::order(resolve(&to).await?, Duration::from_millis(every_ms), orders).await
            }
            Self::Batch { to, connections, every_s, for_s } => {
                let (bursts, on) = watch::channel(false);
                spawn_local(burst(bursts, Duration::from_secs(every_s), Duration::from_secs(for_s)));
                load::batch(resolve(&to).await?, connections, AT_ONCE, on).await
            }
            Self::Serve { listen, backlog } => load::serve(listen, backlog, Arc::new(AtomicBool::new(false))).await,
            Self::Pause => std::future::pending().await,
        }
    }
}

async fn resolve(name: &str) -> Result<SocketAddr> {
    let mut found = lookup_host(name).await.with_context(|| name.to_owned())?;
    found.find(SocketAddr::is_ipv4).with_context(|| format!("{name} has no IPv4 address"))
}

async fn burst(bursts: watch::Sender<bool>, every: Duration, lasting: Duration) {
    let mut ticks = interval(every);
    // The first comes at once: others want to see calm before the first burst.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        bursts.send_replace(true);
        sleep(lasting).await;
        bursts.send_replace(false);
    }
}

async fn tell(orders: Arc<Orders>) {
    let mut ticks = interval(TOLD_EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let slow = std::mem::take(&mut *orders.slow());
        let (begun, failed) = (orders.begun.swap(0, Relaxed), orders.failed.swap(0, Relaxed));
        let slowest = slow.iter().max().map_or(0, Duration::as_millis);
        say(&format!(
            "{begun} connections, {} took over {} ms (up to {slowest} ms), {failed} failed",
            slow.len(),
            SLOW.as_millis()
        ));
    }
}
