//! Fuzzing of what reads foreign bytes, for as long as one likes.

use std::fs;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::cargo::{root, within};

/// Programs of the workspace `fuzz`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// Packets, as kernel programs parse them.
    Packet,
    /// Scripts of the trace language.
    Script,
}

impl Target {
    /// Inputs to begin with, where there are some: a folder below the workspace's.
    fn seeds(self) -> Option<&'static str> {
        match self {
            Self::Packet => None,
            Self::Script => Some("services/tracer/tests/corpus"),
        }
    }
}

/// Runs each target for so many seconds; an input that breaks one is left in `fuzz/`, and ends the command.
pub(crate) fn run(targets: &[Target], seconds: u64) -> Result<()> {
    for target in if targets.is_empty() { Target::value_variants() } else { targets } {
        let name = target.to_possible_value().context("a target has a name")?;
        // libFuzzer reads every folder, and writes what leads it further into the first.
        let found = root().join("fuzz/target/inputs").join(name.get_name());
        fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
        let status = within(&root().join("fuzz"), &["run", "--release", "--locked", "--bin", name.get_name(), "--"])
            .arg(format!("-max_total_time={seconds}"))
            .arg(found)
            .args(target.seeds().map(|folder| root().join(folder)))
            // Its flags are in `fuzz/.cargo/config.toml`, which a variable would replace.
            .env_remove("RUSTFLAGS")
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "{} broke: the input is in fuzz/, and above", name.get_name());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn its_lock_file_knows_what_the_workspace_depends_on() {
        let metadata = ["metadata", "--locked", "--quiet", "--format-version", "1"];
        let mut cargo = within(&root().join("fuzz"), &metadata);
        let status = cargo.stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "run `cargo metadata` in fuzz/ and commit its Cargo.lock");
    }
}
