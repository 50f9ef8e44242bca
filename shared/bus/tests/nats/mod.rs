//! A real nats-server for tests, on a free port of the loopback.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) struct Server {
    pub(crate) child: Child,
}

#[allow(dead_code, reason = "each test uses its part")]
impl Server {
    /// Starts on the port, with `JetStream` on the folder. Streams reserve what they may hold: by itself the server
    /// offers what the disk has, which is less in an emulated machine.
    pub(crate) fn start(port: u16, store: &Path) -> Self {
        Self::start_with(port, store, "")
    }

    /// The same, with more lines of configuration.
    pub(crate) fn start_with(port: u16, store: &Path, more: &str) -> Self {
        let settings = store.join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", max_file_store: 16GB }}\n{more}",
            store.display()
        );
        std::fs::write(&settings, text).unwrap();
        // Packages lie at several depths.
        let tools =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|above| above.join("target/tools/nats-server"));
        let binary = tools.into_iter().find(|binary| binary.exists());
        let binary = binary.unwrap_or_else(|| panic!("there is no target/tools/nats-server; run `cargo xtask setup`"));
        // A test that is killed takes its server with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&binary)
            .arg("-c")
            .arg(settings)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
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
