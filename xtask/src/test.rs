//! All tests, and what they may have left behind.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::ebpf::root;

/// Runs every test of the workspace, then removes what a test that was killed could not.
pub(crate) fn run() -> Result<()> {
    // Kernel tests time handshakes: one at a time, so that they don't time each other.
    let status = Command::new("cargo")
        .args(["test", "--workspace", "--locked", "--no-fail-fast", "--", "--test-threads=1"])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    clean()?;
    println!("not run: kernels other than this one, because the QEMU runner is not built yet");
    ensure!(status.success(), "tests failed");
    Ok(())
}

/// Namespaces and pins carry the tests' prefixes, so nothing of anyone else's is touched.
fn clean() -> Result<()> {
    for folder in ["/run/netns", "/sys/fs/bpf"] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries {
            let entry = entry.context(folder)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("syn-t-") {
                println!("a test left namespace {name}: removed");
                let status = Command::new("ip").args(["netns", "del", &name]).status().context("ip")?;
                ensure!(status.success(), "namespace {name} cannot be removed");
            } else if name.starts_with("synscope-test-") {
                println!("a test left pins in {folder}/{name}: removed");
                fs::remove_dir_all(entry.path()).context(name)?;
            }
        }
    }
    Ok(())
}
