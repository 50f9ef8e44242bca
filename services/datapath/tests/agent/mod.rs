//! One agent as a process, for tests of the whole service.

use std::fmt::Debug;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use synscope_bus::command::datapath::{GetStatus, Status};
use synscope_bus::command::{ask, ask_health};
use synscope_bus::connection::Connection;
use synscope_bus::life::{Health, Phase};
use tokio::time::timeout;

use crate::nats::{Server, free_port};
use crate::netns::{Line, within};

/// Until what must happen has not. Emulated machines take their time, and give way to other work.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);
/// The agent's node.
pub(crate) const NODE: &str = "node-a";

/// A server, which ends before its store is removed.
pub(crate) struct Nats {
    _server: Server,
    _store: tempfile::TempDir,
}

/// One agent, in the client's namespace, with everything it leaves behind.
pub(crate) struct Agent {
    pub(crate) line: Line,
    pub(crate) port: u16,
    pub(crate) pins: PathBuf,
    config: tempfile::TempDir,
    pub(crate) child: Option<Child>,
}

impl Agent {
    pub(crate) fn new(name: &str, more: &str) -> Self {
        let line = Line::new(name);
        line.bridge();
        let port = free_port();
        let pins = PathBuf::from(format!("/sys/fs/bpf/synscope-test-{name}-{}", std::process::id()));
        let config = tempfile::tempdir().unwrap();
        let endpoints = config.path().join("endpoints.toml");
        std::fs::write(&endpoints, "[workloads]\n\"10.9.0.1\" = \"shop/order\"\n").unwrap();
        let text = format!(
            "node = '{NODE}'\npins = '{}'\nnetns = '/run/netns/{}'\ninterfaces = ['eth*']\ntime_scale = 50.0\nsignals_ms = 100\nsweep_ms = 100\nendpoints = '{}'\n{more}\n[nats]\nurl = 'nats://127.0.0.1:{port}'\n",
            pins.display(),
            line.client,
            endpoints.display(),
        );
        std::fs::write(config.path().join("datapath.toml"), text).unwrap();
        Self { line, port, pins, config, child: None }
    }

    pub(crate) fn command(&self) -> Command {
        // A test that is killed takes its agent with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_synscope-datapath")]);
        command.arg("--config").arg(self.config.path().join("datapath.toml"));
        command
    }

    pub(crate) fn start(&mut self) {
        self.child = Some(self.command().stderr(Stdio::inherit()).spawn().unwrap());
    }

    /// Kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.as_ref().unwrap().id().cast_signed());
        kill(pid, signal).unwrap();
    }

    /// SIGTERM, and how long it took to end.
    pub(crate) fn terminate(&mut self) -> Duration {
        let start = Instant::now();
        self.signal(Signal::SIGTERM);
        assert!(self.child.take().unwrap().wait().unwrap().success());
        start.elapsed()
    }

    /// A server for it, and a connection of the test's own.
    pub(crate) async fn nats(&self) -> (Nats, Connection) {
        let store = tempfile::tempdir().unwrap();
        let server = Server::start(self.port, store.path());
        (Nats { _server: server, _store: store }, self.connect().await)
    }

    pub(crate) async fn connect(&self) -> Connection {
        let connection = Connection::start(&format!("nats://127.0.0.1:{}", self.port), "test").await.unwrap();
        timeout(DEADLINE, connection.connected()).await.unwrap();
        connection
    }

    pub(crate) fn server(&self) -> TcpListener {
        within(&self.line.server, || TcpListener::bind("10.9.0.2:80").unwrap())
    }

    pub(crate) fn client(&self) -> TcpStream {
        within(&self.line.client, || TcpStream::connect("10.9.0.2:80").unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        let _nothing_pinned = std::fs::remove_dir_all(&self.pins);
    }
}

/// Looks until what is seen is enough, and tells it.
pub(crate) async fn until<T: Debug>(what: &str, mut look: impl AsyncFnMut() -> T, enough: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let seen = look().await;
        if enough(&seen) {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}, last seen {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn ready(connection: &Connection) {
    let health = async || ask_health(connection, "datapath", NODE).await;
    let is_ready = |health: &Result<Health, _>| health.as_ref().is_ok_and(|health| health.phase == Phase::Ready);
    until("the service gets ready", health, is_ready).await.unwrap();
}

pub(crate) async fn status(connection: &Connection) -> Status {
    ask(connection, NODE, &GetStatus {}).await.unwrap()
}
