//! How a service's process ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ends the process also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a service whose nats-server is not there, and sends it SIGTERM once its log says `when`: how it ended, and how
/// long that took.
pub(crate) fn terminated_without_nats(command: &mut Command, when: &str) -> (ExitStatus, Duration) {
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    command.env("SYNSCOPE_NATS__URL", format!("nats://127.0.0.1:{port}")).env("SYNSCOPE_LOG__JSON", "true");
    let mut running = Running(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let found = log.by_ref().any(|line| line.unwrap().contains(when));
    assert!(found, "the log ends without {when:?}");
    // It goes on to read, so that the service never waits for us.
    std::thread::spawn(move || log.for_each(drop));
    let start = Instant::now();
    kill(Pid::from_raw(running.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    (running.0.wait().unwrap(), start.elapsed())
}
