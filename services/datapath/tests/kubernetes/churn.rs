//! Pods that come and go fast, on addresses that are used again at once, as a second node sees them through the bucket.

use std::time::{Duration, Instant};

use super::api::{Api, pod};
use super::nats::{Server, free_port};
use super::{Learner, NODE, until};
use synscope_datapath::follow;

/// Pods that live at once, each at one of so many addresses.
const PODS: usize = 250;
/// Between two new pods.
const EACH: Duration = Duration::from_millis(10);
/// A name that the cluster has changed may be seen for so long.
const STALE_MAX: Duration = Duration::from_secs(2);
/// The process may grow by so much meanwhile: what is kept of former names, and the allocator's own.
const GROWTH_MAX_KB: u64 = 12 << 10;

#[derive(Clone)]
struct Expected {
    name: Option<String>,
    former: Vec<(Option<String>, Instant)>,
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn address(place: usize) -> String {
    format!("10.0.0.{}", place + 1)
}

/// The longest time that the second node had a name which the cluster had changed.
fn stalest(agent: &Learner, expected: &[Expected]) -> Duration {
    let ages = expected.iter().enumerate().filter_map(|(place, expected)| {
        let seen = agent.named(&address(place));
        if seen == expected.name {
            return None;
        }
        let changed = expected.former.iter().rev().find(|(name, _)| *name == seen);
        Some(changed.unwrap_or_else(|| panic!("{} was never {seen:?}", address(place))).1.elapsed())
    });
    ages.max().unwrap_or_default()
}

async fn churn(length: Duration) {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let (api, a, b) = (Api::start(), Learner::begin("node-a", port).await, Learner::begin("node-b", port).await);
    for agent in [&a, &b] {
        follow::names(&agent.life, &agent.own);
    }
    b.own.complete(|_| false);
    let name = |number: usize| format!("pod-{number}");
    let live = |number: usize| pod(NODE, &name(number), &format!("app-{number}"), &address(number % PODS));
    (0..PODS).for_each(|number| api.put(live(number)));
    let first = |number: usize| Expected { name: Some(format!("shop/app-{number}")), former: Vec::new() };
    let mut expected: Vec<_> = (0..PODS).map(first).collect();
    a.watch(&api);
    until("all are known to both", || (0..PODS).all(|place| b.named(&address(place)) == expected[place].name)).await;

    let (mut worst, mut ticks, start) = (Duration::ZERO, tokio::time::interval(EACH), Instant::now());
    let (mut number, mut settled_kb) = (PODS, None);
    while start.elapsed() < length {
        ticks.tick().await;
        // One goes, and one comes to its address: every second time its end is told first.
        let at = &mut expected[number % PODS];
        if number.is_multiple_of(2) {
            api.remove("pods", &name(number - PODS));
            api.put(live(number));
        } else {
            api.put(live(number));
            api.remove("pods", &name(number - PODS));
        }
        let before = at.name.replace(format!("shop/app-{number}"));
        at.former.extend([(before, Instant::now()), (None, Instant::now())]);
        number += 1;
        if number.is_multiple_of(5) {
            worst = worst.max(stalest(&b, &expected));
            assert!(worst <= STALE_MAX, "a name is stale for {worst:?} after {:?}", start.elapsed());
        }
        if start.elapsed() >= length / 4 {
            settled_kb.get_or_insert_with(resident_kb);
        }
    }
    let (pods, took) = (number - PODS, start.elapsed());
    until("the last are known", || stalest(&b, &expected) == Duration::ZERO).await;
    let (before_kb, after_kb) = (settled_kb.unwrap(), resident_kb());
    eprintln!(
        "{pods} pods in {took:?}: stale {worst:?} at most; {before_kb} kB after a quarter, {after_kb} kB at the end"
    );
    assert!(after_kb < before_kb + GROWTH_MAX_KB, "it grew from {before_kb} to {after_kb} kB");
    assert_eq!((api.asked().lists, a.trouble()), (1, None), "the watch held");
    assert_eq!([&a, &b].map(|agent| agent.own.directory().read().refused()), [0, 0]);
    assert!(took <= 2 * EACH * u32::try_from(pods).unwrap(), "{pods} pods in {took:?} are too few");
}

/// `SYNSCOPE_CHURN_S` says for how many seconds; the process may grow no more in a minute than in ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn no_name_is_stale_for_long_while_a_hundred_pods_a_second_come_and_go() {
    let seconds = std::env::var("SYNSCOPE_CHURN_S").map_or(10, |seconds| seconds.parse().unwrap());
    churn(Duration::from_secs(seconds)).await;
}
