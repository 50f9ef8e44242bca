//! Values over time. bpftrace has them since 0.24, and what is here to compare with is 0.23: how they are drawn is compared
//! with the expectations of bpftrace's own tests (`services/tracer/src/run/series.rs`), and here what is gathered.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::process::Command;

use serde_json::Value;

const OURS: &str = env!("CARGO_BIN_EXE_synscope");
/// Longer than anything here takes; one begins in 2052.
const LONG: &str = "10000d";

fn written(options: &[&str], script: &str) -> String {
    let ran = Command::new(OURS).args(["trace", "-q"]).args(options).args(["-e", script]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.is_empty(), "{script}: {said}");
    String::from_utf8(ran.stdout).unwrap()
}

/// The maps that a script leaves, by name.
fn series(script: &str) -> serde_json::Map<String, Value> {
    let text = written(&["-f", "json"], script);
    let lines = text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap());
    let of_line = |line: Value| {
        assert_eq!(line["type"], "tseries", "{line}");
        line["data"].as_object().unwrap().clone()
    };
    lines.flat_map(of_line).collect()
}

fn values(points: &Value) -> Vec<i64> {
    points.as_array().unwrap().iter().map(|point| point["value"].as_i64().unwrap()).collect()
}

#[test]
fn values_of_an_interval_become_one_as_the_script_says() {
    let gather = |map: &str, how: &str| -> String {
        [7, -3, 2].map(|value| format!("@{map} = tseries({value}, {LONG}, 5{how}); ")).concat()
    };
    let named = ["avg", "max", "min", "sum"].map(|how| gather(how, &format!(", \"{how}\""))).concat();
    let found = series(&format!("BEGIN {{ {named} {} exit(); }}", gather("last", "")));
    for (map, value) in [("@avg", 2), ("@max", 7), ("@min", -3), ("@sum", 6), ("@last", 2)] {
        assert_eq!(values(&found[map]), [value], "{map}");
    }
}

#[test]
fn each_key_has_a_series_of_its_own() {
    let script = format!(
        r#"BEGIN {{ @["a", 1] = tseries(1, {LONG}, 5, "sum"); @["b", 2] = tseries(5, {LONG}, 5, "sum");
        @["a", 1] = tseries(2, {LONG}, 5, "sum"); @gone = tseries(1, {LONG}, 5); clear(@gone); exit(); }}"#
    );
    let found = series(&script);
    assert_eq!((values(&found["@"]["a,1"]), values(&found["@"]["b,2"])), (vec![3], vec![5]), "{found:?}");
    assert!(!found.contains_key("@gone"), "{found:?}");
}

/// Without sign, the largest number is the largest.
#[test]
fn numbers_without_sign_stay_large() {
    let large = |how: &str| {
        format!(r#"@{how} = tseries((uint64)-1, {LONG}, 2, "{how}"); @{how} = tseries((uint64)1, {LONG}, 2, "{how}");"#)
    };
    let found = series(&format!("BEGIN {{ {} {} exit(); }}", large("min"), large("max")));
    assert_eq!((&found["@min"][0]["value"], &found["@max"][0]["value"]), (&1.into(), &u64::MAX.into()));
}

/// As many intervals as the script keeps, one after the other, each beginning where the time of day is a multiple of it.
#[test]
fn the_last_intervals_are_kept() {
    let script = r#"interval:ms:20 { @ = tseries(1, 100ms, 4, "sum"); @one[1] = tseries(1, 100ms, 1); }
        interval:ms:1200 { exit(); }"#;
    let found = series(script);
    let starts: Vec<i64> =
        found["@"].as_array().unwrap().iter().map(|point| tenths(&point["interval_start"])).collect();
    assert!((2..=4).contains(&starts.len()), "{found:?}");
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");
    assert!(starts.last().unwrap() - starts.first().unwrap() < 4, "{starts:?}");
    // Timers come late on a busy machine, and are made up for; hardly more than twice as many come in an interval.
    assert!(values(&found["@"]).iter().all(|sum| (1..=10).contains(sum)), "{found:?}");
    assert_eq!(values(&found["@one"]["1"]), [1], "{found:?}");
}

/// Tenths of a second within the hour; an hour does not pass.
fn tenths(start: &Value) -> i64 {
    let text = start.as_str().unwrap();
    assert!(text.len() == "2026-01-01 00:00:00.000000000".len() && text.ends_with("00000000"), "{text}");
    let number = |from: usize, to: usize| text.get(from..to).unwrap().parse::<i64>().unwrap();
    (number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19)) * 10 + number(20, 21)
}

#[test]
fn series_are_drawn() {
    let text = written(&[], r#"BEGIN { @["x"] = tseries(3, 10000d, 5); print(@, 1, 7); exit(); }"#);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("@[x]:", 16), "{text}");
    assert_eq!(lines[2], format!("hh:mm:ss.ns        |{}|", "_".repeat(51)));
    assert!(lines[3].ends_with("|                         *                         | 3"), "{text}");
    assert_eq!(lines[4], format!("{:18} v{}v", "", "_".repeat(51)));
}
