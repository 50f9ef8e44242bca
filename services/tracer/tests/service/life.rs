//! How traces end: by time, by lease, with NATS, and with the tracer.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use synscope_bus::command::tracer::Terms;
use synscope_bus::message::trace::{Ending, TraceState};

use crate::node::{Fleet, Tracer, part, terms, until};

#[path = "../../../../shared/bus/tests/ending/mod.rs"]
mod ending;

const QUIET: &str = "interval:s:3600 { }";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_ends_when_its_time_is_over() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let begun = Instant::now();
    tracer.run(QUIET, Terms { duration_ms: Some(600), ..terms("t-time") }).await;
    assert_eq!(tracer.ending("t-time").await, Ending::Duration);
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_lives_as_long_as_it_is_renewed() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let lease = Duration::from_secs(3);
    tracer.run(QUIET, Terms { lease_ms: Some(3000), ..terms("t-lease") }).await;
    let begun = Instant::now();
    // Twice as long as the lease.
    while begun.elapsed() < 2 * lease {
        assert_eq!(tracer.renew("t-lease").await, TraceState::Running);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let left = Instant::now();
    assert_eq!(tracer.ending("t-lease").await, Ending::Lease);
    assert!(left.elapsed() + Duration::from_millis(500) >= lease, "{:?}", left.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_outlives_a_short_absence_of_nats_and_not_a_long_one() {
    let mut fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let script = r#"tracepoint:sched:sched_process_exit /comm == "absent"/ { printf("left\n"); }"#;
    tracer.run(script, Terms { lease_ms: Some(60_000), ..terms("t-long") }).await;
    tracer.run(QUIET, Terms { lease_ms: Some(500), ..terms("t-short") }).await;
    fleet.kill_nats().await;
    (0..3).for_each(|_| part("absent"));
    // Longer than the short lease: the tracer alone knows when that is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.start_nats().await;
    until("the tracer is back", async || tracer.ask(&synscope_bus::command::tracer::ListTraces {}).await.is_ok()).await;
    assert_eq!(tracer.ending("t-short").await, Ending::NatsAway);
    let mut listener = fleet.listen("t-long").await;
    part("absent");
    until("all lines were kept", async || tracer.results("t-long").await.lines.len() == 4).await;
    // Those that were written meanwhile came first, perhaps before this listener.
    loop {
        let batch = listener.next().await;
        if batch.first + batch.lines.len() as u64 == 5 {
            break;
        }
    }
    assert_eq!(tracer.results("t-long").await.status.state, TraceState::Running);
}

/// Maps of this name in the kernel; programs that use a map keep it.
fn maps(name: &str) -> usize {
    let maps = aya::maps::loaded_maps().map(Result::unwrap);
    maps.filter(|map| map.name_as_str() == Some(name)).count()
}

async fn traced(tracer: &Tracer, map: &str) {
    let script = format!(
        "rawtracepoint:sched_process_exit {{ @{map}[pid] = count(); }} interval:s:1 {{ @{map}[0] = count(); }}"
    );
    tracer.run(&script, terms("t-end")).await;
    assert_eq!(maps(&format!("at_{map}")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracer_that_is_killed_leaves_nothing_behind() {
    let fleet = Fleet::new().await;
    let mut tracer = fleet.open_tracer("node-a").await;
    traced(&tracer, "killed").await;
    tracer.child.kill().unwrap();
    tracer.child.wait().unwrap();
    until("its maps are gone", async || maps("at_killed") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_is_stopped_leaves_nothing_behind() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    traced(&tracer, "stopped").await;
    tracer.stop("t-end").await;
    until("its maps are gone", async || maps("at_stopped") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracer_that_is_told_to_end_tells_the_end_of_its_traces() {
    let fleet = Fleet::new().await;
    let mut tracer = fleet.open_tracer("node-a").await;
    traced(&tracer, "ended").await;
    let mut listener = fleet.listen("t-end").await;
    let begun = Instant::now();
    kill(Pid::from_raw(tracer.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(listener.rest().await.1, Ending::TracerEnded);
    let status = tokio::task::spawn_blocking(move || tracer.child.wait().unwrap()).await.unwrap();
    assert!(status.success() && begun.elapsed() < Duration::from_secs(5), "{status}, {:?}", begun.elapsed());
    until("its maps are gone", async || maps("at_ended") == 0).await;
}

#[test]
fn it_ends_within_five_seconds_though_nats_is_away() {
    let mut service = Command::new(env!("CARGO_BIN_EXE_synscope-tracer"));
    service.env("SYNSCOPE_NODE", "node-a");
    let (status, took) = ending::terminated_without_nats(&mut service, "ready");
    assert!(status.success() && took < Duration::from_secs(5), "{status}, {took:?}");
}
