//! Other kernels, in an emulated machine: `cargo xtask vm`.
//!
//! The guest sees the host's whole file tree at the same paths, read-only but for the workspace, so that any program
//! of the host runs there with its libraries.

mod boot;
mod initramfs;
mod kernel;
mod suite;

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::apt::{install, on_path};
use kernel::Kernel;
pub(crate) use kernel::Release;
pub(crate) use suite::Suite;

/// What a guest can run.
pub(crate) struct Machine {
    release: Release,
    kernel: Kernel,
}

impl Machine {
    /// Installs the emulator and fetches the kernel, unless they are there.
    pub(crate) fn prepare(release: Release) -> Result<Self> {
        ensure!(env::consts::ARCH == "x86_64", "only x86_64 machines are emulated, this is {}", env::consts::ARCH);
        ensure!(nix::unistd::geteuid().is_root(), "must run as root: virtiofsd serves the whole file tree");
        tools()?;
        Ok(Self { release, kernel: Kernel::fetch(release)? })
    }

    /// Its kernel line.
    pub(crate) fn release(&self) -> Release {
        self.release
    }

    /// Runs a command in the current folder and returns its exit code; its output goes to ours.
    pub(crate) fn run(&self, command: &[String], limit: Duration) -> Result<u8> {
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        let folder = env::current_dir().context("the current folder")?;
        let variables = ["PATH", "HOME", "RUST_BACKTRACE", "RUST_LOG", "PROPTEST_CASES", "PROPTEST_RNG_SEED"]
            .into_iter()
            .filter_map(|name| {
                let value = env::var(name).ok()?;
                Some(format!("export {name}={}\n", quoted(&value)))
            });
        let text = format!(
            "{}cd {} && exec {}\n",
            variables.collect::<String>(),
            quoted(&folder.to_string_lossy()),
            words.join(" ")
        );
        boot::run(&self.kernel, &text, limit)
    }
}

fn tools() -> Result<()> {
    let mut missing = Vec::new();
    for (program, package) in [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("depmod", "kmod"),
        ("xz", "xz-utils"),
    ] {
        if !on_path(program) && !Path::new("/usr/sbin").join(program).exists() {
            missing.push(package);
        }
    }
    if !missing.is_empty() {
        println!("vm: installing {} with apt-get", missing.join(", "));
        install(&missing)?;
    }
    if boot::file_server().is_none() {
        println!("vm: installing virtiofsd with apt-get");
        install(&["virtiofsd"])?;
    }
    Ok(())
}

/// A word of a shell text.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
