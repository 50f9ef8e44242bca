//! The service is asked for its health by its own program, as health checks do.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../../shared/bus/tests/nats/mod.rs"]
mod nats;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use synscope_bus::life::{Health, Phase};

/// Ends the process also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Names are the machine's, so that each test run has its own.
fn node(role: &str) -> String {
    format!("t-{}-{role}", std::process::id())
}

fn api(node: &str, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope-api"));
    command.env("SYNSCOPE_NODE", node).env("SYNSCOPE_LISTEN", "127.0.0.1:0");
    command.env("SYNSCOPE_NATS__URL", format!("nats://127.0.0.1:{port}"));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn started(node: &str, port: u16) -> Running {
    Running(api(node, port).spawn().unwrap())
}

fn ask(node: &str, arguments: &[&str]) -> Output {
    api(node, 1).arg("health").args(arguments).stderr(Stdio::piped()).output().unwrap()
}

/// Asks until it answers so.
fn until(node: &str, arguments: &[&str], well: bool) -> Output {
    let start = Instant::now();
    loop {
        let output = ask(node, arguments);
        if output.status.success() == well {
            return output;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(start.elapsed() < Duration::from_secs(20), "{arguments:?} of {node} is not {well}: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn said(output: &Output) -> Health {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_is_live_without_nats_and_ready_with_it() {
    let (one, two) = (node("one"), node("two"));
    let port = nats::free_port();
    let (mut first, _second) = (started(&one, port), started(&two, port));
    for node in [&one, &two] {
        let health = said(&until(node, &["--live"], true));
        assert_eq!((health.service.as_str(), &health.node, health.phase), ("api", node, Phase::Starting));
        assert!(!health.nats_connected && health.commit.is_some());
        let why = refused(&ask(node, &[]));
        assert!(why.contains(&format!("api of {node} is not ready: Starting")), "{why}");
    }
    let store = tempfile::tempdir().unwrap();
    let _server = nats::Server::start(port, store.path());
    let health = said(&until(&one, &[], true));
    assert_eq!((health.phase, health.nats_connected), (Phase::Ready, true));

    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let why = refused(&ask(&one, &["--live"]));
    assert!(why.contains(&format!("api of {one} does not answer")), "{why}");
    assert!(until(&two, &[], true).status.success(), "the other one goes on");
}

#[test]
fn askers_that_never_read_keep_nobody_from_asking() {
    let node = node("idle");
    let _service = started(&node, nats::free_port());
    until(&node, &["--live"], true);
    let address = SocketAddr::from_abstract_name(format!("synscope-api-{node}")).unwrap();
    let idle: Vec<_> = (0..50).map(|_| UnixStream::connect_addr(&address).unwrap()).collect();
    assert_eq!(said(&ask(&node, &["--live"])).node, node);
    drop(idle);
}

#[test]
fn a_second_process_of_the_same_name_answers_when_the_first_has_ended() {
    let (node, port) = (node("heir"), nats::free_port());
    let first = started(&node, port);
    let began = said(&until(&node, &["--live"], true)).started_unix_ns;
    let _heir = started(&node, port);
    assert_eq!(said(&ask(&node, &["--live"])).started_unix_ns, began);
    drop(first);
    assert_ne!(said(&until(&node, &["--live"], true)).started_unix_ns, began);
}

#[test]
fn the_version_names_the_commit() {
    let output = api("a", 1).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    let expected = format!("synscope-api {}\n", synscope_bus::command_line::VERSION);
    assert_eq!(version, expected);
    assert!(version.starts_with(concat!("synscope-api ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
}
