//! A command that begins when it is told to: its first instruction comes after the probes are attached.
//!
//! Its process is started at once and stops itself before it becomes the command, so that scripts can know its number
//! beforehand. No code of ours runs between `fork` and `exec`, which would have to be unsafe.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The subcommand that waits.
pub(crate) const NAME: &str = "held-command";

/// A command that waits to begin, or runs.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    begun: bool,
}

impl Held {
    /// From its words, quoted as in a shell.
    pub(crate) fn start(line: &str) -> Result<Self> {
        let words = shlex::split(line).with_context(|| format!("`{line}` has a quote that is not closed"))?;
        ensure!(!words.is_empty(), "there is no command to run");
        let mut command = Command::new("/proc/self/exe");
        let child = command.arg(NAME).arg("--").args(&words).spawn().context("a process cannot be started")?;
        let held = Self { child, begun: false };
        let stopped = waitpid(held.pid(), Some(WaitPidFlag::WUNTRACED)).context("its process cannot be waited for")?;
        ensure!(matches!(stopped, WaitStatus::Stopped(..)), "`{line}` ended before it began");
        Ok(held)
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.begun = true;
        kill(self.pid(), Signal::SIGCONT).context("the command cannot be let go")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

/// Whoever leaves takes the command along.
impl Drop for Held {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // It was not waited for: the number is still its own.
        let signal = if self.begun { Signal::SIGTERM } else { Signal::SIGKILL };
        if kill(self.pid(), signal).is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Waits to be let go, then becomes the command. Gives why it could not.
pub(crate) fn become_it(words: &[String]) -> anyhow::Error {
    let Some((program, arguments)) = words.split_first() else { return anyhow::anyhow!("there is no command") };
    if let Err(error) = raise(Signal::SIGSTOP) {
        return anyhow::Error::new(error).context("the process cannot stop itself");
    }
    let error = Command::new(program).args(arguments).exec();
    anyhow::Error::new(error).context(format!("`{program}` cannot be run"))
}
