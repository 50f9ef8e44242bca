//! The workloads: each runs in a thread of its own, inside its pod's namespace.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{interval, sleep, timeout};

use crate::netns::Netns;

/// Connections that a batch job gives up and tries again after so long.
const BATCH_PATIENCE: Duration = Duration::from_secs(1);

/// Slower connections are slow; the agents' own default.
pub(crate) const SLOW: Duration = Duration::from_millis(100);

/// Workloads that run until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Load {
    threads: Vec<JoinHandle<Result<()>>>,
    stop: Option<watch::Sender<bool>>,
}

/// What `order` got to see.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Begins none for now.
    pub(crate) paused: AtomicBool,
    /// Connections begun.
    pub(crate) begun: AtomicU64,
    /// How long those took to connect that took over 100 ms.
    slow: Mutex<Vec<Duration>>,
    /// Those that failed.
    pub(crate) failed: AtomicU64,
}

impl Orders {
    /// How long the slow ones took to connect, in the order of their ends.
    pub(crate) fn slow(&self) -> MutexGuard<'_, Vec<Duration>> {
        // No code panics while it holds the lock.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { threads: Vec::new(), stop: Some(watch::channel(false).0) }
    }

    fn spawn<F: Future<Output = Result<()>> + 'static>(
        &mut self,
        netns: &Netns,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<()> {
        let mut stopped = self.stop.as_ref().context("the load has ended")?.subscribe();
        // All sockets of one thread belong to its namespace, so one thread it is.
        let thread = netns.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    done = work() => done,
                    _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
                }
            })
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// A server that answers each request at once, but accepts none while `closed` says so.
    pub(crate) fn server(&mut self, netns: &Netns, address: &str, backlog: i32, closed: Arc<AtomicBool>) -> Result<()> {
        let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
        self.spawn(netns, move || serve(address, backlog, closed))
    }

    /// A client that connects, asks once, and hangs up, `every` so often, whatever became of those before.
    pub(crate) fn orders(&mut self, netns: &Netns, to: &str, every: Duration) -> Result<Arc<Orders>> {
        let to: SocketAddr = to.parse().with_context(|| to.to_owned())?;
        let orders = Arc::new(Orders::default());
        let shared = orders.clone();
        self.spawn(netns, move || order(to, every, shared))?;
        Ok(orders)
    }

    /// A batch job: as long as `on`, it wants `connections`, begun `within` so long, and tries again for those it did not
    /// get.
    pub(crate) fn batch(
        &mut self,
        netns: &Netns,
        to: &str,
        connections: usize,
        within: Duration,
        on: watch::Receiver<bool>,
    ) -> Result<()> {
        let to: SocketAddr = to.parse().with_context(|| to.to_owned())?;
        self.spawn(netns, move || batch(to, connections, within, on))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send_replace(true);
        }
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("a workload failed: {error:#}"),
                Err(_panic) => eprintln!("a workload panicked"),
            }
        }
    }
}

/// Answers whoever asks, but accepts nobody while `closed` says so.
pub(crate) async fn serve(address: SocketAddr, backlog: i32, closed: Arc<AtomicBool>) -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into()).with_context(|| address.to_string())?;
    socket.listen(backlog)?;
    let listener = TcpListener::from_std(socket.into())?;
    loop {
        while closed.load(Relaxed) {
            sleep(Duration::from_millis(20)).await;
        }
        let accepted = timeout(Duration::from_millis(100), listener.accept()).await;
        let Ok(Ok((stream, _client))) = accepted else { continue };
        tokio::task::spawn_local(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let mut request = [0; 64];
    // A client that hangs up early is no concern of the server's.
    while let Ok(length @ 1..) = stream.read(&mut request).await {
        if stream.write_all(&request[..length]).await.is_err() {
            return;
        }
    }
}

/// Connects, asks once and hangs up, `every` so often.
pub(crate) async fn order(to: SocketAddr, every: Duration, orders: Arc<Orders>) -> Result<()> {
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        if orders.paused.load(Relaxed) {
            continue;
        }
        let orders = orders.clone();
        tokio::task::spawn_local(async move {
            orders.begun.fetch_add(1, Relaxed);
            let start = tokio::time::Instant::now();
            let asked = timeout(Duration::from_secs(20), ask(to, start, &orders)).await;
            if !matches!(asked, Ok(Ok(()))) {
                orders.failed.fetch_add(1, Relaxed);
            }
        });
    }
}

async fn ask(to: SocketAddr, start: tokio::time::Instant, orders: &Orders) -> Result<()> {
    let mut stream = TcpSocket::new_v4()?.connect(to).await?;
    let took = start.elapsed();
    if took > SLOW {
        orders.slow().push(took);
    }
    stream.write_all(b"is it in stock?").await?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await?;
    Ok(())
}

/// As long as `on`, wants connections, begun `within` so long.
pub(crate) async fn batch(
    to: SocketAddr,
    connections: usize,
    within: Duration,
    on: watch::Receiver<bool>,
) -> Result<()> {
    for number in 0..connections {
        let mut on = on.clone();
        tokio::task::spawn_local(async move {
            loop {
                if on.wait_for(|on| *on).await.is_err() {
                    return;
                }
                // Spread, so that the demand is there all the time and not in steps.
                sleep(within.mul_f64(spread(number))).await;
                let mut off = on.clone();
                tokio::select! {
                    () = hold(to) => {}
                    ended = off.wait_for(|on| !*on) => if ended.is_err() { return },
                }
            }
        });
    }
    std::future::pending().await
}

/// A number's place in 0..1, the same in each run, neighbours apart.
#[allow(clippy::cast_precision_loss, reason = "a place, not a count")]
fn spread(number: usize) -> f64 {
    (number as f64 * 0.618_033_988_75).fract()
}

/// Connects, and stays until the connection ends; gives an attempt up after a while.
async fn hold(to: SocketAddr) {
    let Ok(socket) = TcpSocket::new_v4() else { return };
    // A reset leaves nothing behind on either side, so that the next burst finds its ports free.
    if SockRef::from(&socket).set_linger(Some(Duration::ZERO)).is_err() {
        return;
    }
    if let Ok(Ok(mut stream)) = timeout(BATCH_PATIENCE, socket.connect(to)).await {
        // The server says nothing, so this ends with the connection; why does not matter.
        let _how_it_ended = stream.read(&mut [0; 1]).await;
    }
}
