//! Scripts that run under bpftrace 0.23 and under ours at the same time, hit by the same events: both must write the
//! same. Each file of a folder is a script; comments at its beginning say what happens while it runs and how its outputs
//! are compared:
//!
//! - `// workload: open` — what a thread called WORKER does ([`act`]), or several, one after the other: `open, write`. In
//!   the script, WORKER is replaced by the thread's name. Without a workload, the script must exit by itself.
//! - `// compare: exact` (where nothing is said), `lines` (in any order), `near` (numbers may differ by a quarter) or
//!   `shape` (any numbers).
//! - `// format: json`
//! - `// differs: …` — why the outputs are not the same, and must not be.
//!
//! `SYNSCOPE_BPFTRACE` names a command that runs bpftrace; `cargo xtask bpftrace` fetches one.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::traced::{NOTIFY, named, ours};

/// Scripts at once for each CPU: half of the time is spent waiting for the kernel.
const AT_ONCE: usize = 2;

#[derive(Default)]
struct Script {
    index: usize,
    name: String,
    text: String,
    workload: Option<String>,
    compare: String,
    json: bool,
    differs: bool,
}

impl Script {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let said = |key: &str| {
            let start = format!("// {key}: ");
            text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
        };
        Self {
            index: 0,
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            workload: said("workload"),
            compare: said("compare").unwrap_or_else(|| "exact".to_owned()),
            json: said("format").is_some_and(|format| format == "json"),
            differs: said("differs").is_some(),
            text,
        }
    }

    /// With names of its own for its worker.
    fn numbered(self, index: usize) -> Self {
        let mut text = self.text.replace("WORKER", &worker(index));
        if self.workload.is_some() {
            // All that the worker caused comes before.
            let end = format!("tracepoint:sched:sched_process_exit /comm == \"{}\"/ {{ exit(); }}\n", last(index));
            text.push_str(&end);
        }
        Self { index, text, ..self }
    }
}

/// The scripts of a folder.
fn scripts(folder: &str) -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "bt")).collect();
    files.sort();
    files.iter().map(|path| Script::read(path)).collect()
}

/// Scripts as one, whose maps keep apart and whose worker does all that theirs do, but for those that must differ.
/// In an emulated machine bpftrace takes half a minute to begin.
fn joined(scripts: Vec<Script>) -> Vec<Script> {
    let (mut all, alike): (Vec<Script>, Vec<Script>) = scripts.into_iter().partition(|script| script.differs);
    let workloads: Vec<&str> = alike.iter().filter_map(|script| script.workload.as_deref()).collect();
    all.push(Script {
        name: alike.iter().map(|script| script.name.as_str()).collect::<Vec<_>>().join(", "),
        workload: Some(workloads.join(", ")),
        compare: "lines".to_owned(),
        text: alike.iter().map(|script| script.text.replace('@', &format!("@{}_", script.name))).collect(),
        ..Script::default()
    });
    all
}

/// The thread that acts for a script.
fn worker(index: usize) -> String {
    format!("worker{index}")
}

/// The thread whose end is the script's.
fn last(index: usize) -> String {
    format!("last{index}")
}

/// What a worker does.
fn act(workload: &str) {
    match workload {
        "open" => {
            for (file, times) in [("/proc/self/stat", 7), ("/proc/no/such", 3)] {
                (0..times).for_each(|_| drop(std::fs::File::open(file)));
            }
        }
        "write" => {
            let mut nowhere = std::fs::File::create("/dev/null").unwrap();
            for size in [1, 10, 100, 100, 1000, 10_000] {
                nowhere.write_all(&vec![b'x'; size]).unwrap();
            }
        }
        "ask" => (0..6).for_each(|_| assert!(nix::unistd::getppid().as_raw() > 0)),
        "sleep" => (0..4).for_each(|_| thread::sleep(Duration::from_millis(3))),
        "dial" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            for _ in 0..3 {
                let mut dialed = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (mut accepted, _) = listener.accept().unwrap();
                dialed.write_all(&[b'a'; 100]).unwrap();
                accepted.read_exact(&mut [0; 100]).unwrap();
                dialed.shutdown(Shutdown::Write).unwrap();
                assert_eq!(accepted.read(&mut [0; 1]).unwrap(), 0);
            }
        }
        "send" => {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = socket.local_addr().unwrap();
            for size in [10, 10, 500] {
                assert_eq!(socket.send_to(&vec![b'u'; size], to).unwrap(), size);
            }
        }
        "touch" => {
            // Memory that is asked for as zeroes is none until it is touched.
            let mut memory = vec![0_u8; 64 * 4096];
            memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            std::hint::black_box(&memory);
        }
        "run" => assert!(Command::new("/bin/true").arg("argument").status().unwrap().success()),
        "nothing" => {}
        other => panic!("there is no workload `{other}`"),
    }
}

/// A tracer that was started, and what it writes.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    before: String,
}

impl Running {
    /// Starts it, and waits until it has attached the script or given up.
    fn start(tracer: &[OsString], script: &str) -> Self {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "600"]).args(tracer).args(["-e", script]).env(NOTIFY, "1");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut before = String::new();
        while !before.contains(NOTIFY) && lines.read_line(&mut before).unwrap() > 0 {}
        Self { child, lines, before: before.replace(&format!("{NOTIFY}\n"), "") }
    }

    /// All that it writes until its end.
    fn end(self) -> Result<String, String> {
        let Self { mut child, mut lines, before } = self;
        let mut rest = Vec::new();
        lines.read_to_end(&mut rest).unwrap();
        let text = before + &String::from_utf8_lossy(&rest);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        if status.success() { Ok(text) } else { Err(format!("{status}: {text}{said}")) }
    }
}

/// Runs a script under both at once, and says what differs.
fn compared(script: &Script, bpftrace: &Path) -> Option<String> {
    let in_format = |mut tracer: Vec<OsString>| {
        tracer.extend(script.json.then(|| ["-f", "json"].map(OsString::from)).into_iter().flatten());
        tracer
    };
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| Running::start(&in_format(vec![bpftrace.into()]), &script.text));
        let ours = Running::start(&in_format(ours()), &script.text);
        (theirs.join().unwrap(), ours)
    });
    if let Some(workload) = script.workload.clone() {
        named(&worker(script.index), move || workload.split(", ").for_each(act));
        named(&last(script.index), || {});
    }
    let (theirs, ours) = (theirs.end(), ours.end());
    let same = match (&theirs, &ours) {
        (Ok(theirs), Ok(ours)) => same(&script.compare, theirs, ours),
        _ => false,
    };
    let show = |result: Result<String, String>| result.unwrap_or_else(|failed| format!("FAILED {failed}"));
    (same == script.differs).then(|| {
        let (name, compare) = (&script.name, &script.compare);
        let unlike = if same { "not different any more" } else { "different" };
        let (theirs, ours) = (show(theirs), show(ours));
        format!("=== {name} ({compare}): {unlike}\n{}\n--- bpftrace\n{theirs}--- ours\n{ours}", script.text)
    })
}

/// Whether two outputs are alike, by this comparison.
pub(crate) fn same(compare: &str, theirs: &str, ours: &str) -> bool {
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    match compare {
        "exact" => theirs == ours,
        "lines" => sorted(theirs) == sorted(ours),
        "near" | "shape" => {
            let ((text, numbers), (our_text, our_numbers)) = (parts(theirs), parts(ours));
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= a.abs().max(b.abs()) / 4.0 + 1.0;
            text == our_text && (compare == "shape" || numbers.iter().zip(&our_numbers).all(near))
        }
        other => panic!("there is no comparison `{other}`"),
    }
}

/// A text without its numbers, and its numbers.
fn parts(text: &str) -> (String, Vec<f64>) {
    let (mut without, mut numbers, mut digits) = (String::new(), Vec::new(), String::new());
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        if !digits.is_empty() {
            numbers.push(digits.parse().unwrap());
            digits.clear();
            without.push('#');
        }
        without.push(letter);
    }
    (without, numbers)
}

/// Compares all scripts of a folder, each by itself; `SCRIPTS` names a part of the names of those that are wanted.
pub(crate) fn all_are_alike(folder: &str, at_least: usize) {
    let scripts = scripts(folder);
    assert!(scripts.len() >= at_least, "{} scripts", scripts.len());
    are_alike(scripts);
}

/// Compares all scripts of a folder as one.
pub(crate) fn all_are_alike_at_once(folder: &str, at_least: usize) {
    let scripts = scripts(folder);
    assert!(scripts.len() >= at_least, "{} scripts", scripts.len());
    are_alike(joined(scripts));
}

fn are_alike(scripts: Vec<Script>) {
    let bpftrace = PathBuf::from(std::env::var_os("SYNSCOPE_BPFTRACE").expect("SYNSCOPE_BPFTRACE"));
    let version = Command::new(&bpftrace).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.starts_with("bpftrace v0.23"), "{version}");
    let only = std::env::var("SCRIPTS").ok();
    let scripts = scripts.into_iter().enumerate().map(|(index, script)| script.numbered(index));
    let wanted = |script: &Script| only.as_ref().is_none_or(|only| script.name.contains(only.as_str()));
    let queue = Mutex::new(scripts.filter(wanted).collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap().pop_front();
    let differences = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let at_once = AT_ONCE * thread::available_parallelism().unwrap().get();
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(script) = next() {
                    let difference = compared(&script, &bpftrace);
                    differences.lock().unwrap().extend(difference);
                }
            });
        }
    });
    let mut differences = differences.into_inner().unwrap();
    differences.sort();
    assert!(differences.is_empty(), "{}\n{} scripts", differences.join("\n"), differences.len());
}
