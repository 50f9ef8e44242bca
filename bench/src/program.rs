//! A tracer as a program of its own: how long it takes until its probes are attached, and how much memory.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::samples::number;

/// What both write on a line of its own once all probes are attached, where the environment has it.
const ATTACHED: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// A tracer.
pub(crate) struct Program {
    pub(crate) command: PathBuf,
    /// Those before the script's.
    pub(crate) arguments: &'static [&'static str],
}

/// A tracer that has attached its probes. It ends when this goes.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    attached_after: Duration,
    ended: bool,
}

/// What a tracer left.
pub(crate) struct Ended {
    written: String,
    peak_kib: u64,
}

impl Program {
    /// Runs a script that ends by itself.
    pub(crate) fn run(&self, script: &str) -> Result<()> {
        let ran = self.command(script).output()?;
        ensure!(ran.status.success(), "{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr));
        Ok(())
    }

    /// Starts a script, and waits until it is attached.
    pub(crate) fn start(&self, script: &str) -> Result<Running> {
        let start = Instant::now();
        let mut command = self.command(script);
        command.env(ATTACHED, "1").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| self.command.display().to_string())?;
        let lines = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut running = Running { child, lines, attached_after: Duration::ZERO, ended: false };
        let mut line = String::new();
        while line.trim_end() != ATTACHED {
            line.clear();
            if running.lines.read_line(&mut line)? == 0 {
                bail!("{} did not attach: {}", self.command.display(), running.complaints());
            }
        }
        running.attached_after = start.elapsed();
        Ok(running)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.command);
        command.args(self.arguments).args(["-e", script]).stdin(Stdio::null());
        command
    }
}

impl Running {
    /// From its start to its last probe.
    pub(crate) fn attached_after(&self) -> Duration {
        self.attached_after
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn end(mut self) -> Result<Ended> {
        kill(self.process()?, Signal::SIGINT)?;
        let mut written = String::new();
        self.lines.read_to_string(&mut written)?;
        let (status, peak_kib) = wait(self.process()?)?;
        self.ended = true;
        ensure!(status == 0, "the tracer ended with wait status {status}: {written}{}", self.complaints());
        Ok(Ended { written, peak_kib })
    }

    fn process(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    fn complaints(&mut self) -> String {
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr
            && let Err(error) = stderr.read_to_string(&mut said)
        {
            said = error.to_string();
        }
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended && (self.child.kill().is_err() || self.child.wait().is_err()) {
            eprintln!("the tracer {} is left behind", self.child.id());
        }
    }
}

impl Ended {
    /// The most memory that it had at once.
    pub(crate) fn peak_mib(&self) -> f64 {
        number(self.peak_kib) / 1024.0
    }

    /// Whether a map has something: a tracer that saw nothing costs nothing.
    pub(crate) fn ensure_hit(&self) -> Result<()> {
        ensure!(self.written.contains('@'), "the tracer saw nothing: {}", self.written);
        Ok(())
    }
}

/// Waits for a process that was not waited for yet: its wait status, and the most memory it had, in KiB.
fn wait(process: Pid) -> Result<(i32, u64)> {
    let mut status = 0;
    // SAFETY: numbers, for which zero will do.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both point to what the call fills in.
    let waited = unsafe { libc::wait4(process.as_raw(), &raw mut status, 0, &raw mut usage) };
    ensure!(waited == process.as_raw(), "cannot wait for {process}: {}", std::io::Error::last_os_error());
    Ok((status, u64::try_from(usage.ru_maxrss)?))
}
