//! The kernel programs.

use anyhow::{Context, Result, ensure};

use crate::cargo::{root, within};

/// Builds the kernel programs in their own workspace, as the datapath's build script does.
pub(crate) fn run() -> Result<()> {
    let status = within(&root().join("ebpf"), &["build", "--release", "--locked"])
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
