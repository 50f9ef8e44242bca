//! Probes that are hit more than a million times a second: what is counted is exact, and what is printed or lost comes to
//! the number of hits. The calls are made by threads of this test, as fast as they can; the rate is said, not required.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::io::BufRead;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};
use traced::{attached, ours, say, traced};

/// One test at a time has the machine: else rates say little.
static ALONE: Mutex<()> = Mutex::new(());
/// Threads that call at the same time.
const THREADS: u64 = 2;

/// Makes the same system call many times in each of some threads of this name, and says how often that was per second.
fn call(name: &'static str, times: u64) {
    let begun = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let calls = move || (0..times).for_each(|_| assert!(getpgid(None::<Pid>).is_ok()));
            thread::Builder::new().name(name.to_owned()).spawn(calls).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (hits, took) = (THREADS * times, begun.elapsed());
    let rate = u128::from(hits) * 1_000_000 / took.as_micros().max(1);
    say(&format!("{name}: {hits} hits in {took:.1?}, {rate} a second"));
}

/// A script that does something at each of the calls.
fn at_calls(name: &str, body: &str) -> String {
    format!(r#"rawtracepoint:sys_enter /comm == "{name}" && args.id == {}/ {{ {body} }}"#, libc::SYS_getpgid)
}

#[test]
fn counts_are_exact_as_fast_as_threads_can_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let times = 1_000_000;
    let body = "@count = count(); @sum = sum(2); @by[comm] = count(); @hist = hist(1); @plain++; @keyed[comm]++;";
    for (name, body) in [("counter", "@count = count();"), ("gatherer", body)] {
        let written = traced(&ours(), &at_calls(name, body), || call(name, times));
        let hits = times * THREADS;
        let has = |line: &str| assert!(written.lines().any(|other| other == line), "no {line} in:\n{written}");
        has(&format!("@count: {hits}"));
        if body.contains("@sum") {
            has(&format!("@sum: {}", 2 * hits));
            has(&format!("@by[gatherer]: {hits}"));
            has(&format!("@plain: {hits}"));
            has(&format!("@keyed[gatherer]: {hits}"));
            let one = written.lines().find(|line| line.starts_with("[1] ")).unwrap();
            assert_eq!(one.split_ascii_whitespace().nth(1), Some(hits.to_string().as_str()), "{written}");
        }
    }
}

/// Every quarter of a millisecond all threads make the same entry at once; only one of them can.
#[test]
fn entries_that_several_cpus_make_at_once_count_all_of_them() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let times = 500_000;
    let body = "@stepped[nsecs >> 18]++; @gathered[nsecs >> 18] = count();";
    let written = traced(&ours(), &format!("config = {{ max_map_keys = 65536 }} {}", at_calls("maker", body)), || {
        call("maker", times);
    });
    for map in ["@stepped[", "@gathered["] {
        let values = written.lines().filter(|line| line.starts_with(map)).map(|line| line.split_once(": ").unwrap().1);
        let values: Vec<u64> = values.map(|value| value.parse().unwrap()).collect();
        assert_eq!(values.iter().sum::<u64>(), times * THREADS, "{map}: {} entries", values.len());
    }
}

/// Prints a line at each call, and gives how many lines there were and how many are said to be lost.
fn printed(name: &'static str, times: u64, while_stopped: bool) -> (u64, u64) {
    let (mut child, lines) = attached(&ours(), &at_calls(name, r#"printf("a line\n");"#));
    // Else the tracer waits until somebody reads.
    let reader = thread::spawn(move || {
        let (mut printed, mut lost) = (0, 0);
        for line in lines.lines().map(Result::unwrap) {
            match line.strip_prefix("Lost ").and_then(|rest| rest.strip_suffix(" events")) {
                Some(number) => lost += number.parse::<u64>().unwrap(),
                None => printed += u64::from(line == "a line"),
            }
        }
        (printed, lost)
    });
    let signal = |signal| kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    if while_stopped {
        signal(Signal::SIGSTOP);
    }
    call(name, times);
    if while_stopped {
        signal(Signal::SIGCONT);
    }
    signal(Signal::SIGINT);
    assert!(child.wait().unwrap().success());
    reader.join().unwrap()
}

#[test]
fn what_is_printed_and_what_is_lost_come_to_all_hits() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let times = 500_000;
    let (lines, lost) = printed("printer", times, false);
    say(&format!("printer: {lines} printed, {lost} lost"));
    assert_eq!(lines + lost, times * THREADS, "{lines} printed, {lost} lost");
    assert!(lines > 0);
}

/// A tracer that does not get to read has room for so much as its buffer holds.
#[test]
fn a_tracer_that_is_stopped_tells_what_it_lost() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let times = 100_000;
    let (lines, lost) = printed("stopped", times, true);
    assert_eq!(lines + lost, times * THREADS, "{lines} printed, {lost} lost");
    assert!(lines > 1_000 && lost > 1_000, "{lines} printed, {lost} lost");
}
