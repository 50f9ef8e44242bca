//! Builds the kernel programs and hands the object to `include_bytes_aligned!`.
//!
//! A build of its own: another target, another workspace, and a target folder inside ours so that the two cargos
//! never wait for each other's lock.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?).join("../..");
    let ebpf = root.join("ebpf");
    for input in ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "ebpf/.cargo/config.toml", "shared/abi/src"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }

    let target = out.join("ebpf");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--target-dir"]).arg(&target).current_dir(&ebpf);
    // What this build was given for the host must not reach the kernel's target.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_") && name_text != "CARGO_HOME" || name_text.starts_with("RUSTFLAGS") {
            cargo.env_remove(&name);
        }
    }
    cargo.env_remove("RUSTC").env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
    // `-Z build-std` on a stable toolchain.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    let status = cargo.status().map_err(|error| format!("cannot run cargo for the kernel programs: {error}"))?;
    if !status.success() {
        return Err("the kernel programs do not build; is `cargo xtask setup` done (rust-src, bpf-linker)?".into());
    }
    let objects = target.join("bpfel-unknown-none/release");
    // For the bench's build script, which wants the floor programs.
    println!("cargo::metadata=OBJECTS={}", objects.display());
    println!("cargo::rustc-env=DATAPATH_EBPF_OBJECT={}", objects.join("datapath").display());
    println!("cargo::rustc-env=DATAPATH_EBPF_DROPS={}", objects.join("drops").display());
    println!("cargo::rustc-env=DATAPATH_EBPF_XDP={}", objects.join("xdp").display());
    println!("cargo::rustc-env=DATAPATH_EBPF_BEHIND={}", objects.join("behind").display());
    Ok(())
}
