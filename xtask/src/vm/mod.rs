//! Other kernels, in an emulated machine: `cargo xtask vm`.
//!
//! The guest sees the host's whole file tree at the same paths, read-only but for the workspace, so that any program
//! of the host runs there with its libraries.

pub(crate) mod boot;
mod initramfs;
mod kernel;
pub(crate) mod suite;

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::apt::{install, on_path};
use crate::test::SEED;
pub(crate) use boot::Clock;
use kernel::Kernel;
pub(crate) use kernel::Release;

/// What a guest gets of our environment, and what it gets where we have none.
const VARIABLES: [(&str, Option<&str>); 7] = [
    ("PATH", None),
    ("HOME", None),
    ("RUST_BACKTRACE", None),
    ("RUST_LOG", None),
    ("PROPTEST_CASES", None),
    ("SYNSCOPE_BPFTRACE", None),
    (SEED.0, Some(SEED.1)),
];

/// What a guest can run.
pub(crate) struct Machine {
    release: Release,
    kernel: Kernel,
    clock: Clock,
}

impl Machine {
    /// Installs the emulator and fetches the kernel, unless they are there.
    pub(crate) fn prepare(release: Release) -> Result<Self> {
        ensure!(env::consts::ARCH == "x86_64", "only x86_64 machines are emulated, this is {}", env::consts::ARCH);
        ensure!(nix::unistd::geteuid().is_root(), "must run as root: virtiofsd serves the whole file tree");
        tools()?;
        Ok(Self { release, kernel: Kernel::fetch(release)?, clock: Clock::Host })
    }

    /// The same with another clock.
    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Its kernel line.
    pub(crate) fn release(&self) -> Release {
        self.release
    }

    /// Runs a shell text in the current folder and returns its exit code; its output goes to ours, each line with the
    /// label in front.
    pub(crate) fn run(&self, script: &str, limit: Duration, label: &str) -> Result<u8> {
        let folder = env::current_dir().context("the current folder")?;
        let variables = exports(|name| env::var(name).ok());
        let text = format!("{variables}cd {} || exit\n{script}\n", quoted(&folder.to_string_lossy()));
        boot::run(&self.kernel, self.clock, &text, limit, label)
    }
}

/// What a guest gets of our environment, as a shell text.
fn exports(ours: impl Fn(&str) -> Option<String>) -> String {
    let exported = |(name, usual): (&str, Option<&str>)| {
        let value = ours(name).or_else(|| usual.map(str::to_owned))?;
        Some(format!("export {name}={}\n", quoted(&value)))
    };
    VARIABLES.into_iter().filter_map(exported).collect()
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

/// A command as a line of a shell text.
pub(crate) fn command_line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
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

    #[test]
    fn a_guest_draws_the_same_cases_in_every_run_unless_told_others() {
        assert_eq!(exports(|_| None), "export PROPTEST_RNG_SEED='1'\n");
        let ours = |name: &str| (name == "PROPTEST_RNG_SEED").then(|| "7".to_owned());
        assert_eq!(exports(ours), "export PROPTEST_RNG_SEED='7'\n");
    }
}
