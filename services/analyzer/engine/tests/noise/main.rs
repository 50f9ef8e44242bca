//! Days of edges with nothing wrong. Every incident is a false one.
//!
//! None in 10,000 days, which is fewer than 3 in 10,000 at 95 %; those that are played usually are fewer.
//!
//! `NOISE_DAYS=10000 cargo test --release -p synscope-engine --test noise` plays
//! them all.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod day;

use day::false_incidents;

/// Days that were taken for incidents once: edges that lose three SYNs in a hundred, and one whose first failures were not
/// told yet.
const TAKEN_WRONGLY: [u64; 3] = [572, 1111, 2118];

#[test]
fn nothing_wrong_is_no_incident() {
    let days = std::env::var("NOISE_DAYS").map_or(24, |days| days.parse().unwrap());
    let mut falsely = 0;
    for seed in (0..days).chain(TAKEN_WRONGLY) {
        let found = false_incidents(seed);
        falsely += u64::from(!found.is_empty());
        for title in found {
            eprintln!("seed {seed}: {title}");
        }
    }
    eprintln!("{falsely} of {days} edge-days");
    assert!(falsely * 10_000 <= days, "{falsely} false incidents in {days} edge-days");
}
