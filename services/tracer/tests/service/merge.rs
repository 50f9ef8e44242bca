//! What several nodes found is put together exactly.

use std::collections::BTreeMap;

use synscope_bus::message::trace::{Ending, TraceState};
use synscope_bus::snapshot::{Each, Held, Merged, Snapshot, Value, merge};

use crate::node::{Fleet, part, terms};

const SCRIPT: &str = r#"tracepoint:sched:sched_process_exit /comm == "merged"/ {
    printf("left %s\n", comm);
    @left[comm] = count();
    @sum = sum(3);
    @mean = avg(5);
    @sizes = hist(9);
    @last = comm;
    @times[comm] = tseries(2, 10000d, 3, "sum");
}"#;

fn all(latest: &BTreeMap<String, Vec<Snapshot>>) -> Vec<Merged> {
    let of_node =
        |(node, maps): (&String, &Vec<Snapshot>)| maps.iter().cloned().map(|map| map.of_node(node)).collect::<Vec<_>>();
    merge(latest.iter().flat_map(of_node))
}

/// How often, as a map without other keys says.
fn counted(merged: &[Merged], name: &str) -> u64 {
    match merged.iter().find(|map| map.name == name).map(|map| &map.held) {
        Some(Held::Count { entries }) => entries.iter().map(|entry| entry.value).sum(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Both nodes are this machine, so each sees all: together they have counted twice as much.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_have_counted_what_both_saw() {
    let fleet = Fleet::new().await;
    let (a, b) = (fleet.open_tracer("node-a").await, fleet.open_tracer("node-b").await);
    let mut listener = fleet.listen("t-merge").await;
    a.run(SCRIPT, terms("t-merge")).await;
    b.run(SCRIPT, terms("t-merge")).await;
    (0..7).for_each(|_| part("merged"));

    let mut latest = BTreeMap::new();
    let mut lines = BTreeMap::<String, u64>::new();
    loop {
        let batch = listener.next().await;
        assert_eq!(batch.state, TraceState::Running);
        assert!(batch.lines.is_empty() || batch.first == lines.get(&batch.node).copied().unwrap_or(0) + 1);
        *lines.entry(batch.node.clone()).or_default() += batch.lines.len() as u64;
        assert!(batch.lines.iter().all(|line| line.text == "left merged" && !line.error), "{batch:?}");
        let Some(maps) = batch.maps else { continue };
        latest.insert(batch.node, maps);
        if latest.len() == 2 && counted(&all(&latest), "left") == 14 {
            break;
        }
    }
    assert_eq!(lines.into_values().collect::<Vec<_>>(), [7, 7]);
    for maps in latest.values() {
        let alone = merge(maps.iter().cloned().map(|map| map.of_node("alone")));
        assert_eq!(counted(&alone, "left"), 7);
    }
    let merged = all(&latest);
    let held = |name: &str| &merged.iter().find(|map| map.name == name).unwrap().held;
    let Held::Sum { entries } = held("sum") else { panic!("{merged:?}") };
    assert_eq!(entries[0].value.0, 42);
    let Held::Average { entries } = held("mean") else { panic!("{merged:?}") };
    assert_eq!((entries[0].value.count, entries[0].value.average()), (14, Some(5)));
    let Held::Log2 { bits: 0, entries } = held("sizes") else { panic!("{merged:?}") };
    // 8 to 15 is the range behind those of 0, 1, 2 to 3 and 4 to 7.
    assert_eq!(entries[0].value.counts().collect::<Vec<_>>(), [(5, 14)]);
    // Both are of the same interval, which began in 2024.
    let Held::Series { each: Each::Sum, interval_ns: 864_000_000_000_000_000, entries, .. } = held("times") else {
        panic!("{merged:?}")
    };
    let points: Vec<_> = entries[0].value.points().map(|(start, value, _)| (start, value.0)).collect();
    assert_eq!(points, [(1_728_000_000_000_000_000, 28)]);
    let Held::Values { entries } = held("last") else { panic!("{merged:?}") };
    let text = || Value::Text("merged".into());
    assert_eq!(entries[0].value, BTreeMap::from([("node-a".into(), text()), ("node-b".into(), text())]));

    let stopped = a.stop("t-merge").await;
    assert_eq!(stopped.status.state, TraceState::Ended { ending: Ending::Stopped });
    assert_eq!((stopped.status.hits >= 7, stopped.status.lines, stopped.first), (true, 7, 1));
    assert_eq!(stopped.lines.len(), 7);
    assert!(stopped.status.run_ns > 0, "{:?}", stopped.status);
    let (batches, ending) = listener.rest().await;
    assert_eq!((ending, batches.last().unwrap().node.as_str()), (Ending::Stopped, "node-a"));
    // The other one goes on.
    assert_eq!(b.renew("t-merge").await, TraceState::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_exits_tells_its_code_and_its_last_words() {
    let fleet = Fleet::new().await;
    let tracer = fleet.open_tracer("node-a").await;
    let mut listener = fleet.listen("t-exit").await;
    let script = r#"BEGIN { printf("begun\nhal"); @n = 5; printf("f\n"); errorf("bad\n"); exit(3); } END { @n++; printf("over"); }"#;
    let started = tracer.start(script, terms("t-exit")).await.unwrap();
    assert!(started.diagnostics.is_empty(), "{started:?}");
    let (batches, ending) = listener.rest().await;
    assert_eq!(ending, Ending::Exited { code: 3 });
    assert_eq!(tracer.results("t-exit").await.status.state, TraceState::Ended { ending });
    let lines = batches.iter().flat_map(|batch| &batch.lines);
    let lines: Vec<_> = lines.map(|line| (line.text.as_str(), line.error)).collect();
    assert_eq!(lines, [("begun", false), ("half", false), ("bad", true), ("over", false)]);
    let maps = batches.last().unwrap().maps.as_ref().unwrap();
    let Held::Values { entries } = &maps[0].held else { panic!("{maps:?}") };
    assert_eq!(entries[0].value, Value::Number(6_i64.into()));
}
