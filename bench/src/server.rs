//! The server that events go through.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// A real nats-server on a free port of the loopback.
pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
    _store: tempfile::TempDir,
}

impl Server {
    /// Ready when clients can connect to it.
    pub(crate) fn start() -> Result<Self> {
        let binary = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/nats-server"));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let store = tempfile::tempdir()?;
        // Streams reserve what they may hold: by itself the server offers what the disk has.
        let settings = store.path().join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", max_file_store: 16GB }}\n",
            store.path().display()
        );
        fs::write(&settings, text)?;
        // A bench that is killed takes its server with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(binary)
            .arg("-c")
            .arg(settings)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{}: run `cargo xtask setup`", binary.display()))?;
        Ok(Self { url: format!("nats://127.0.0.1:{port}"), child, _store: store })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_err() || self.child.wait().is_err() {
            eprintln!("nats-server {} is left behind", self.child.id());
        }
    }
}
