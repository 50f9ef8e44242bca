//! The benchmarks: set up quietly, built as they would be shipped.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::ebpf::root;
use crate::leftovers;

/// Builds and measures; the bench's exit status.
pub(crate) fn run(arguments: &[String]) -> Result<u8> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench makes network namespaces and loads kernel programs: run it as root"
    );
    leftovers::remove()?;
    // The tracer is measured as the program that people run.
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "--package", "synscope-cli"])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "the command line does not build: {built}");
    let measured = Command::new("cargo")
        .args(["run", "--release", "--locked", "--quiet", "--package", "synscope-bench", "--"])
        .args(arguments)
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    Ok(measured.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
