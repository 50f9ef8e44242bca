//! The rules of a service at functions of the kernel, called by what this test does. They need kprobes and fentry, so they
//! run in a guest: `cargo xtask vm --kernel 6.12 -- <this program> --ignored --test-threads=1`. In an emulated machine a
//! script takes longer to compile than an answer over NATS may, so the tracer is asked in its own process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod busy;

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use busy::Busy;
use synscope_bus::command::tracer::{
    CheckTrace, Checked, Limits, Script, Severity, StartScript, Terms, TraceResults, TraceSource,
};
use synscope_bus::connection::Connection;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::Life;
use synscope_bus::message::trace::{Ending, Limit, TraceState};
use synscope_bus::snapshot::{Held, Value};
use synscope_bus::subject::NodeId;
use synscope_tracer::service::{Settings, Traces};
use tokio::runtime::Runtime;

const DEADLINE: Duration = Duration::from_mins(2);
/// A function behind the system call that [`Busy`] makes.
const BUSY: &str = "__task_pid_nr_ns";

/// A tracer, without NATS.
struct Tracer {
    traces: Traces,
    _runtime: Runtime,
}

fn script(text: &str) -> Script {
    Script { text: text.to_owned(), parameters: Vec::new() }
}

impl Tracer {
    fn new(settings: Settings) -> Self {
        let runtime = Runtime::new().unwrap();
        let settings = Settings { scripts: true, away_s: 3600, ..settings };
        let traces = runtime.block_on(async {
            let connection = Connection::start("nats://127.0.0.1:1", "test").await.unwrap();
            let life = Life::begin("tracer", "node-a", connection).unwrap();
            Traces::new(&life, settings, PublisherId::begin(NodeId::new("node-a").unwrap()))
        });
        Self { traces, _runtime: runtime }
    }

    fn check(&self, text: &str) -> Checked {
        self.traces.check(&CheckTrace { source: TraceSource::Script(script(text)) }).unwrap()
    }

    /// Starts a script, and waits until it runs.
    fn run(&self, trace: &str, text: &str, limits: Limits) {
        let terms = Terms { trace: trace.to_owned(), limits, ..Terms::default() };
        self.traces.start_script(StartScript { script: script(text), terms }).unwrap();
        let found = self.when(trace, |state| *state != TraceState::Starting);
        assert_eq!(found.status.state, TraceState::Running, "{found:#?}");
    }

    /// Ends a trace, however long that takes.
    fn stop(&self, trace: &str) -> TraceResults {
        drop(self.traces.stop(trace));
        self.when(trace, |state| matches!(state, TraceState::Ended { .. }))
    }

    /// What a trace has found, once it stands as wanted.
    fn when(&self, trace: &str, wanted: impl Fn(&TraceState) -> bool) -> TraceResults {
        let begun = Instant::now();
        loop {
            let found = self.traces.results(trace).unwrap();
            if wanted(&found.status.state) {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "not as wanted: {found:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a trace of a busy function is attached as, and which limit it exceeds: what was found, what is allowed.
    fn exceeded(&self, trace: &str, text: &str, limits: Limits) -> (String, Limit, u64, u64) {
        self.run(trace, text, limits);
        let _busy = Busy::new();
        let status = self.when(trace, |state| matches!(state, TraceState::Ended { .. })).status;
        match status.state {
            TraceState::Ended { ending: Ending::Limit { limit, found, allowed, .. } } => {
                (status.probes[0].attached_as.clone(), limit, found, allowed)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[ignore = "needs kprobes and fentry: run in a guest"]
fn denied_functions_are_not_probed_and_others_of_a_pattern_are() {
    let denied_functions = vec!["tcp_v4_connect*".to_owned(), "bpf_*".to_owned()];
    let tracer = Tracer::new(Settings { denied_functions, ..Settings::default() });
    for (head, name, by) in [
        ("fentry:tcp_v4_connect", "tcp_v4_connect", "tcp_v4_connect*"),
        ("fexit:tcp_v4_connect", "tcp_v4_connect", "tcp_v4_connect*"),
        ("kprobe:tcp_v4_connect", "tcp_v4_connect", "tcp_v4_connect*"),
        ("kretprobe:bpf_map_put", "bpf_map_put", "bpf_*"),
    ] {
        let checked = tracer.check(&format!("{head} {{ @ = count(); }}"));
        let said = checked.diagnostics.iter().find(|said| said.severity == Severity::Error).unwrap();
        assert_eq!((checked.runs, said.code.as_str()), (false, "denied-function"), "{head}: {said:?}");
        assert_eq!(said.message, format!("no probe may be at `{name}`"), "{head}");
        assert_eq!(said.notes, [format!("`denied_functions` of this tracer has `{by}`")], "{head}");
    }

    let some = r#"kprobe:tcp_v4_* /comm == "denied"/ { @[func] = count(); }"#;
    let checked = tracer.check(some);
    let said = checked.diagnostics.iter().find(|said| said.code == "denied-function").unwrap();
    assert_eq!((checked.runs, said.severity), (true, Severity::Warning), "{checked:#?}");
    assert_eq!(said.message, "1 functions of the pattern are left out, such as `tcp_v4_connect`");
    tracer.run("t-some", some, Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let dial = move || (0..3).for_each(|_| drop(TcpStream::connect(at).unwrap()));
    std::thread::Builder::new().name("denied".into()).spawn(dial).unwrap().join().unwrap();
    let found = tracer.stop("t-some");
    let Held::Count { entries } = &found.maps[0].held else { panic!("{found:#?}") };
    let called = |name: &str| {
        let key = Some(Value::Text(name.to_owned()));
        entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.value)
    };
    // Both were called three times.
    assert_eq!((called("tcp_v4_connect"), called("tcp_v4_init_sock")), (0, 3), "{found:#?}");
}

#[test]
#[ignore = "needs kprobes and fentry: run in a guest"]
fn hits_of_functions_beyond_the_budget_end_a_trace() {
    let tracer = Tracer::new(Settings::default());
    let limits = Limits { hits_per_second: Some(500), ..Limits::default() };
    for (way, body) in [("fentry", "@ = count();"), ("kprobe", r#"@[reg("ip") > 0] = count();"#)] {
        let exceeded = tracer.exceeded(way, &format!("kprobe:{BUSY} {{ {body} }}"), limits);
        // The program itself stops at the first hit too many.
        assert_eq!(exceeded, (way.to_owned(), Limit::HitsPerSecond, 501, 500));
    }
}

#[test]
#[ignore = "needs kprobes and fentry: run in a guest"]
fn probes_at_functions_that_take_too_long_end_a_trace() {
    let mut settings = Settings::default();
    settings.limits.hits_per_second = 100_000_000;
    let tracer = Tracer::new(settings);
    let limits = Limits { cpu_permille: Some(2), ..Limits::default() };
    let work = "$i = 0; while ($i < 500) { $i++; @[cpu, $i % 4] = count(); }";
    for (way, more) in [("fentry", ""), ("kprobe", r#"@ip[reg("ip") > 0] = count();"#)] {
        let (attached_as, limit, found, allowed) =
            tracer.exceeded(way, &format!("kprobe:{BUSY} {{ {work} {more} }}"), limits);
        assert_eq!((attached_as.as_str(), limit, allowed), (way, Limit::CpuPermille, 2));
        assert!(found >= 2, "{found}");
    }
}
