//! The kernel programs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds the kernel programs in their own workspace, as the datapath's build script does.
pub(crate) fn run() -> Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked"])
        .current_dir(root().join("ebpf"))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        // `-Z build-std` on a stable toolchain.
        .env("RUSTC_BOOTSTRAP", "1")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the kernel programs do not build");
    println!("built ebpf/target/bpfel-unknown-none/release/datapath");
    Ok(())
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
