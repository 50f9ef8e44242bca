//! What may be asked of a tracer, and what it says of scripts that do not run.

use synscope_bus::command::CommandError;
use synscope_bus::command::tracer::{
    CheckTrace, DescribeType, GetResults, ListFunctions, Probe, Script, Severity, StartProbe, TraceSource,
};

use crate::node::{Fleet, terms};

fn check(text: &str) -> CheckTrace {
    CheckTrace { source: TraceSource::Script(Script { text: text.to_owned(), parameters: Vec::new() }) }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_scripts_are_off_and_probes_are_on_unless_configured() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    let why = tracer.refusal("BEGIN { exit(); }", terms("t-1")).await;
    assert!(why.contains("own scripts are off") && why.contains("\"scripts\""), "{why}");
    let probe =
        |name: &str| StartProbe { probe: Probe { name: name.to_owned(), ..Probe::default() }, terms: terms("t-1") };
    assert!(tracer.ask(&probe("tcp-retransmits")).await.unwrap().trace.is_some());

    let closed = fleet.tracer("node-b", &[("SYNSCOPE_PROBES", "false"), ("SYNSCOPE_SCRIPTS", "true")]).await;
    let Err(CommandError::Refused(why)) = closed.ask(&probe("drops")).await else { panic!("it was started") };
    assert!(why.contains("curated probes are off"), "{why}");
    assert!(closed.start("BEGIN { exit(); }", terms("t-1")).await.unwrap().trace.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_checked_with_places_and_is_not_run() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    let wrong = tracer.ask(&check("BEGIN {\n  @x = cuont();\n}")).await.unwrap();
    assert!(!wrong.runs);
    let error = wrong.diagnostics.iter().find(|said| said.severity == Severity::Error).unwrap();
    assert_eq!((error.place.line, error.place.column, error.place.start), (2, 8, 15), "{error:?}");
    assert_eq!(error.suggestion.as_ref().unwrap().replacement, "count");

    let right = tracer.ask(&check("rawtracepoint:sys_enter { @[comm] = count(); }")).await.unwrap();
    assert!(right.runs && right.diagnostics.is_empty(), "{right:?}");
    assert_eq!((right.probes[0].attached_as.as_str(), right.probes[0].places), ("raw tracepoint", 1));
    assert!(right.memory_bytes > 4096 * 8, "{right:?}");
    let none = tracer.ask(&GetResults { trace: "t-1".into() }).await.unwrap_err();
    assert_eq!(none.to_string(), "there is no trace \"t-1\" on this node");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_the_verifier_refuses_is_refused_with_its_words() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let endless = "BEGIN { $i = 1; while ($i) { $i = 1; } }";
    let refused = tracer.start(endless, terms("t-1")).await;
    // Either with the verifier's words at a place, or as too complex.
    match refused {
        Ok(started) => {
            assert_eq!(started.trace, None);
            assert!(started.diagnostics.iter().any(|said| said.code == "verifier"), "{started:?}");
        }
        Err(CommandError::Refused(why)) => assert!(why.contains("too complex"), "{why}"),
        Err(other) => panic!("{other}"),
    }
    // Its name is free again.
    assert!(tracer.start("BEGIN { exit(); }", terms("t-1")).await.unwrap().trace.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernels_functions_and_types_are_told() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    let found = tracer.ask(&ListFunctions { pattern: "tcp_*".into(), limit: 5 }).await.unwrap();
    assert_eq!(found.functions.len(), 5);
    assert!(found.left_out > 0);
    let told = tracer.ask(&DescribeType { name: "struct sock_common".into() }).await.unwrap();
    assert!(told.text.contains("skc_daddr"), "{told:?}");
    assert!(tracer.ask(&DescribeType { name: "struct sokc".into() }).await.is_err());
}
