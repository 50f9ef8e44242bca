//! The benchmarks: set up quietly, built as they would be shipped.

use anyhow::{Result, ensure};

use crate::apt::checked;
use crate::cargo::cargo;
use crate::ignored::{self, BPFTRACE};
use crate::leftovers;
use crate::test::ended;

/// Builds and measures; the bench's exit status.
pub(crate) fn run(arguments: &[String]) -> Result<u8> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench makes network namespaces and loads kernel programs: run it as root"
    );
    leftovers::remove()?;
    // The tracer is measured as the program that people run.
    checked(&mut cargo(&["build", "--release", "--locked", "--quiet", "--package", "synscope-cli"]))?;
    let mut bench = cargo(&["run", "--release", "--locked", "--quiet", "--package", "synscope-bench", "--"]);
    match ignored::bpftrace() {
        Ok(command) => drop(bench.env(BPFTRACE, command)),
        // The group that needs it says so too, if it is asked for.
        Err(error) => eprintln!("bench: no bpftrace: {error:#}"),
    }
    ended(bench.args(arguments))
}
