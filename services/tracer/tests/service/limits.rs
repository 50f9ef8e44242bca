//! A trace that exceeds a limit ends, and says which.

use std::collections::BTreeMap;

use synscope_bus::command::ask_health;
use synscope_bus::command::tracer::{GetActivity, Limits};
use synscope_bus::message::trace::{Ending, Limit};

use crate::busy::Busy;
use crate::node::{Fleet, Tracer, limited, terms, until};

/// That it happened once, and nothing else.
fn once<K: Ord>(what: K) -> BTreeMap<K, u64> {
    BTreeMap::from([(what, 1)])
}

async fn exceeded(tracer: &Tracer, script: &str, trace: &str, limits: Limits) -> (Limit, u64, u64, String) {
    tracer.start(script, limited(trace, limits)).await.unwrap();
    match tracer.ending(trace).await {
        Ending::Limit { limit, found, allowed, detail } => (limit, found, allowed, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_beyond_the_budget_end_a_trace_and_cost_nothing_more() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let _busy = Busy::new();
    let limits = Limits { hits_per_second: Some(500), ..Limits::default() };
    let script = "rawtracepoint:sys_enter { @ = count(); }";
    let (limit, found, allowed, detail) = exceeded(&tracer, script, "t-hits", limits).await;
    // The program itself stops at the first hit too many.
    assert_eq!((limit, found, allowed), (Limit::HitsPerSecond, 501, 500));
    assert!(detail.starts_with("501 hits within ") && detail.ends_with("500 per second are allowed"), "{detail}");
    let results = tracer.results("t-hits").await;
    let most = 501 * std::thread::available_parallelism().unwrap().get() as u64;
    assert!((501..=most * 10).contains(&results.status.hits), "{:?}", results.status);
    let activity = tracer.ask(&GetActivity {}).await.unwrap();
    assert_eq!((activity.running, activity.ended, activity.hits), (0, once("limit".to_owned()), results.status.hits));
    assert_eq!(activity.exceeded, once(Limit::HitsPerSecond));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_take_too_long_end_a_trace() {
    let fleet = Fleet::new().await;
    let hits = ("SYNSCOPE_LIMITS__HITS_PER_SECOND", "100000000");
    let tracer = fleet.tracer("node-a", &[("SYNSCOPE_SCRIPTS", "true"), hits]).await;
    let _busy = Busy::new();
    let limits = Limits { cpu_permille: Some(2), ..Limits::default() };
    let script = "rawtracepoint:sys_enter { $i = 0; while ($i < 500) { $i++; @[cpu, $i % 4] = count(); } }";
    let (limit, found, allowed, detail) = exceeded(&tracer, script, "t-cpu", limits).await;
    assert_eq!((limit, allowed), (Limit::CpuPermille, 2));
    assert!(found >= 2, "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_beyond_the_limit_end_a_trace() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let limits = Limits { lines_per_second: Some(10), ..Limits::default() };
    let script = r#"BEGIN { unroll(11) { printf("x\n"); } } interval:s:1 { }"#;
    let (limit, found, allowed, _) = exceeded(&tracer, script, "t-lines", limits).await;
    assert_eq!((limit, found, allowed), (Limit::LinesPerSecond, 11, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_too_large_is_not_begun() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[("SYNSCOPE_SCRIPTS", "true"), ("SYNSCOPE_TRACES", "1")]).await;
    let limits = Limits { probes: Some(1), ..Limits::default() };
    for config in ["", "config = { max_probes = 100; max_bpf_progs = 100 } "] {
        let two =
            format!("{config}tracepoint:sched:sched_process_exit, tracepoint:sched:sched_process_exec {{ @++; }}");
        let started = tracer.start(&two, limited("t", limits)).await.unwrap();
        assert_eq!((started.trace, started.diagnostics[0].code.as_str()), (None, "too-many-probes"));
    }

    let keyed = "tracepoint:sched:sched_process_exit { @a[pid] = 1; @b[pid] = count(); }";
    let limits = Limits { map_entries: Some(8191), ..Limits::default() };
    let why = tracer.refusal(keyed, limited("t", limits)).await;
    assert!(why.contains("8192 entries that maps may hold, 8191 are allowed"), "{why}");
    let limits = Limits { memory_bytes: Some(1 << 20), ..Limits::default() };
    let why = tracer.refusal(keyed, limited("t", limits)).await;
    assert!(why.contains("bytes of maps, 1048576 are allowed"), "{why}");

    tracer.run(keyed, terms("t-one")).await;
    let why = tracer.refusal(keyed, terms("t-two")).await;
    assert_eq!(why, "1 traces run already, 1 are allowed at once");
    let why = tracer.refusal(keyed, terms("t-one")).await;
    assert_eq!(why, "there is a trace t-one already");
    tracer.stop("t-one").await;
    tracer.run(keyed, terms("t-two")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_output_is_in_the_tracers_health_while_the_trace_runs() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let full = "config = { max_map_keys = 1 } BEGIN { @a[1] = 1; @a[2] = 2; } interval:s:3600 { }";
    tracer.run(full, terms("t-full")).await;
    let degradations = async || ask_health(&fleet.connection, "tracer", "node-a").await.unwrap().degradations;
    until("it is degraded", async || degradations().await.contains_key("trace t-full")).await;
    tracer.stop("t-full").await;
    until("it is well again", async || degradations().await.is_empty()).await;
    let activity = tracer.ask(&GetActivity {}).await.unwrap();
    assert_eq!((activity.losses.values, activity.ended), (1, once("stopped".to_owned())));
}
