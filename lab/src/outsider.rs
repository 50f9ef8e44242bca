//! A subscriber that is none of ours: it has the documents, and a NATS client in a language of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use synscope_bus::permissions::{AUTHORITY, Identity, key_file};

use crate::cluster::Cluster;
use crate::report::Check;

/// Kinds of events that every incident makes.
const KINDS: [&str; 5] = ["flow", "slow", "edge", "signal", "incident"];

/// A program that subscribes to everything and validates what comes.
#[derive(Debug)]
pub(crate) struct Outsider {
    child: Child,
}

impl Outsider {
    /// Starts it; all kinds of events must come.
    pub(crate) fn start(program: &Path, cluster: &Cluster) -> Result<Self> {
        let credentials = cluster.credentials();
        // A lab that is killed takes its subscriber with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["--server", &cluster.nats().url])
            .arg("--nkey")
            .arg(key_file(&credentials, &Identity::Subscriber.to_string()))
            .arg("--ca")
            .arg(credentials.join(AUTHORITY))
            .arg("--require")
            .args(KINDS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { child })
    }

    /// Ends it; whether all that came was as described.
    pub(crate) fn end(mut self) -> Result<Check> {
        self.terminate()?;
        let mut said = String::new();
        if let Some(mut output) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut output, &mut said)?;
        }
        let status = self.child.wait()?;
        let name = "a subscriber in another language gets every kind of event, each as described";
        Ok(Check::new(name, status.success(), "exit status: 0", &format!("{status}, {}", said.trim())))
    }

    fn terminate(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM).context("ending the subscriber")
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        // One that has ended already was waited for, so its number is nobody else's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.terminate().map(|()| self.child.wait());
        }
    }
}
