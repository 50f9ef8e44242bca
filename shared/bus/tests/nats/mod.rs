//! A real nats-server for tests, on a free port of the loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts on the port, with `JetStream` on the folder.
    pub(crate) fn start(port: u16, store: &Path) -> Self {
        let binary = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/nats-server"));
        // A test that is killed takes its server with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&binary)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(store)
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", binary.display()));
        Self { child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_err() || self.child.wait().is_err() {
            eprintln!("nats-server {} is left behind", self.child.id());
        }
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
