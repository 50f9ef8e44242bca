//! Says which commit this is built from: what `SYNSCOPE_COMMIT` says, else what git says, else nothing.
//!
//! A build for development asks nobody, because it would be made anew, with all that depends on it, at each commit.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SYNSCOPE_COMMIT");
    let given = env::var("SYNSCOPE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| release.then(head).flatten()).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SYNSCOPE_COMMIT={commit}");
}

/// The commit that is checked out, and what tells when it is another one.
fn head() -> Option<String> {
    // Written at each commit and checkout, in a work tree of its own, too.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8(answer.stdout).ok()?.trim().to_owned())
}
