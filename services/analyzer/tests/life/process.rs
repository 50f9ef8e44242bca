//! The analyzer's process.

use std::process::{Child, Command, Stdio};

use crate::fleet::TIME_SCALE;

/// Runs until dropped, and is killed with -9 then.
pub(crate) struct Analyzer(Child);

impl Analyzer {
    pub(crate) fn start(url: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_synscope-analyzer"))
            .env("SYNSCOPE_NATS__URL", url)
            .env("SYNSCOPE_TIME_SCALE", TIME_SCALE.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Analyzer {
    fn drop(&mut self) {
        if self.0.kill().is_err() || self.0.wait().is_err() {
            eprintln!("analyzer {} is left behind", self.0.id());
        }
    }
}
