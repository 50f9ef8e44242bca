//! The benchmarks: set up quietly, built as they would be shipped.

use std::env;

use anyhow::{Context, Result, ensure};

use crate::apt::checked;
use crate::cargo::cargo;
use crate::ignored::{self, BPFTRACE};
use crate::leftovers;
use crate::test::ended;

/// Names us to the bench: what is counted in an emulated machine is run by [`crate::vm`].
const XTASK: &str = "SYNSCOPE_XTASK";

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
    bench.env(XTASK, env::current_exe().context("this program's path")?);
    match ignored::bpftrace() {
        Ok(command) => drop(bench.env(BPFTRACE, command)),
        // The group that needs it says so too, if it is asked for.
        Err(error) => eprintln!("bench: no bpftrace: {error:#}"),
    }
    ended(bench.args(arguments))
}
