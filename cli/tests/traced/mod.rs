//! A tracer that runs while something happens.
#![allow(dead_code, reason = "each test uses its part")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write, stderr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_synscope");
pub(crate) const NOTIFY: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// Starts a script and waits until it is attached; gives what it then writes.
pub(crate) fn attached(tracer: &[OsString], script: &str) -> (Child, BufReader<ChildStdout>) {
    let (program, arguments) = tracer.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).args(["-e", script]).env(NOTIFY, "1");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut before = String::new();
    while !before.contains(NOTIFY) {
        if lines.read_line(&mut before).unwrap() == 0 {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("{script} was not attached: {before}{error}");
        }
    }
    (child, lines)
}

/// Does something while a script is attached, and gives what the script wrote until it was interrupted.
pub(crate) fn traced(tracer: &[OsString], script: &str, act: impl FnOnce()) -> String {
    let (mut child, mut lines) = attached(tracer, script);
    act();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}{said}");
    assert!(!said.contains("Lost") && !said.contains("found no room"), "{said}{rest}");
    rest
}

pub(crate) fn ours() -> Vec<OsString> {
    [OURS, "trace"].map(OsString::from).to_vec()
}

/// Acts in a thread of a name that scripts look for.
pub(crate) fn named(name: &str, act: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name(name.to_owned()).spawn(act).unwrap().join().unwrap();
}

/// Says what was measured: past the capture of output, to be read where all went well, too.
pub(crate) fn say(text: &str) {
    stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Looks for lines in what was written.
pub(crate) fn has(written: &str, lines: &[&str]) {
    for line in lines {
        assert!(written.lines().any(|other| other == *line), "no line {line:?} in:\n{written}");
    }
}
