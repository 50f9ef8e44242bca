//! What a test of the containers found.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// Something that had to be so.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    name: String,
    passed: bool,
    expected: String,
    found: String,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    passed: bool,
    commit: String,
    checks: Vec<Check>,
    /// Seconds that each part took.
    took_s: Vec<(String, f64)>,
    #[serde(skip)]
    since: Instant,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(commit: &str) -> Self {
        let (checks, took_s) = (Vec::new(), Vec::new());
        Self { passed: true, commit: commit.to_owned(), checks, took_s, since: Instant::now() }
    }

    /// Notes whether something is as it must be.
    pub(crate) fn check(&mut self, name: &str, passed: bool, expected: &str, found: &str) {
        let verdict = if passed { "ok" } else { "FAILED" };
        eprintln!("compose-test: {verdict}: {name}: {found}");
        self.passed &= passed;
        let (name, expected, found) = (name.to_owned(), expected.to_owned(), found.to_owned());
        self.checks.push(Check { name, passed, expected, found });
    }

    /// Notes whether two texts are the same.
    pub(crate) fn equal(&mut self, name: &str, expected: &str, found: &str) {
        self.check(name, expected == found, expected, found);
    }

    /// Notes that a part is over that began when the last one ended.
    pub(crate) fn part(&mut self, name: &str) {
        let took = self.since.elapsed();
        self.since = Instant::now();
        self.took_s.push((name.to_owned(), (took.as_secs_f64() * 10.0).round() / 10.0));
    }

    /// How long all parts took together.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_secs_f64(self.took_s.iter().map(|(_part, seconds)| seconds).sum())
    }

    /// Whether everything was as it must be.
    pub(crate) fn passed(&self) -> bool {
        self.passed
    }

    /// Prints it, for people or as one document.
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        for Check { name, passed, expected, found } in &self.checks {
            match passed {
                true => println!("ok      {name}: {found}"),
                false => println!("FAILED  {name}: {found}; expected {expected}"),
            }
        }
        for (part, seconds) in &self.took_s {
            println!("{seconds:>6.1} s {part}");
        }
        println!("{}", if self.passed { "passed" } else { "FAILED" });
        Ok(())
    }
}
