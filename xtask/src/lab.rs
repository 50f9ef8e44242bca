//! The lab: builds the services, then hands over to them.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::apt;
use crate::cargo::{cargo, root};
use crate::leftovers;
use crate::setup;
use crate::test::ended;

/// Programs that only one scenario needs, and the packages they come in.
const SCENARIO_TOOLS: [(&str, &str, &str); 2] =
    [("nf-conntrack-full", "nft", "nftables"), ("nf-conntrack-full", "conntrack", "conntrack")];

/// Plays with the programs that the tests have just built: built by themselves they need their libraries with fewer
/// features, which are then built anew. The lab's exit status.
pub(crate) fn run_as_tested(arguments: &[String]) -> Result<u8> {
    ended(&mut ready(arguments)?)
}

/// Builds, and becomes the lab: what interrupts one interrupts the other, and the exit status is the lab's.
pub(crate) fn become_it(arguments: &[String]) -> Result<u8> {
    let mut lab = ready(arguments)?;
    build()?;
    Err(lab.exec()).context("cannot run the lab")
}

/// The lab's command, with everything but the services that it needs.
fn ready(arguments: &[String]) -> Result<Command> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the lab makes network namespaces and loads kernel programs: run it as root"
    );
    leftovers::remove()?;
    for (scenario, program, package) in SCENARIO_TOOLS {
        if arguments.iter().any(|argument| argument == scenario) && !apt::on_path(program) {
            eprintln!("setup: installing {package}: {scenario} needs {program}");
            apt::install(&[package])?;
        }
    }
    let mut lab = Command::new(root().join("target/debug/synscope-lab"));
    lab.args(arguments).env("PYTHONPATH", setup::python_packages()).current_dir(root());
    Ok(lab)
}

fn build() -> Result<()> {
    let built = cargo(&["build", "--locked", "--bins"])
        .args(
            ["synscope-datapath", "synscope-tracer", "synscope-analyzer", "synscope-api", "synscope-lab"]
                .map(|name| format!("--package={name}")),
        )
        .status()
        .context("cannot run cargo")?;
    ensure!(built.success(), "the services do not build");
    Ok(())
}
