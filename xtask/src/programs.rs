//! The workspace's test programs: built by cargo, and run.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::apt::output;
use crate::cargo::cargo;
use crate::ignored;
use crate::test::{Outcome, SEED, ended};

/// One that was built.
#[derive(Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) package: String,
    /// Of a file or folder in `tests/` its name, of the tests in `src/` the crate's.
    pub(crate) name: String,
    /// Whether it is of `tests/`.
    pub(crate) integration: bool,
    pub(crate) path: PathBuf,
    /// Its package's, in which cargo starts it.
    pub(crate) folder: PathBuf,
}

/// Builds all of them, with the programs and examples that they start.
pub(crate) fn build() -> Result<Vec<Program>> {
    let mut cargo = cargo(&["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
    cargo.stderr(Stdio::inherit());
    built(&output(&mut cargo)?)
}

/// Those in cargo's messages.
fn built(messages: &str) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's messages")?;
        // `path+file:///folder#name@version`, or without the name where the folder has it.
        let id = message["package_id"].as_str().unwrap_or_default();
        let folder = message["manifest_path"].as_str().and_then(|manifest| Path::new(manifest).parent());
        let executable = message["executable"].as_str();
        let name = message["target"]["name"].as_str();
        if let (true, Some(folder), Some(path), Some(name)) =
            (message["profile"]["test"] == true, folder, executable, name)
        {
            let after = id.rsplit_once('#').map_or("", |(_folder, after)| after);
            let package = match after.split_once('@') {
                Some((package, _version)) => package.to_owned(),
                None => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            };
            let integration = message["target"]["kind"][0] == "test";
            let (name, path, folder) = (name.to_owned(), path.into(), folder.into());
            programs.push(Program { package, name, integration, path, folder });
        }
    }
    Ok(programs)
}

impl Program {
    /// Runs all its tests but the ignored ones, or these, beside a bpftrace. What it prints is shown when it has ended, as
    /// another may run beside it.
    pub(crate) fn tests(&self, bpftrace: Option<&OsStr>, folder: &Path) -> Result<u8> {
        let mut told = tempfile::tempfile_in(folder)?;
        let mut command = Command::new(&self.path);
        command.arg("--test-threads=1").current_dir(&self.folder).env("TMPDIR", folder);
        command.stdout(told.try_clone()?).stderr(told.try_clone()?);
        if let Some(bpftrace) = bpftrace {
            command.arg("--ignored").env(ignored::BPFTRACE, bpftrace);
        }
        let (seed, usual) = SEED;
        if std::env::var_os(seed).is_none() {
            command.env(seed, usual);
        }
        let code = ended(&mut command);
        self.show(&mut told)?;
        code
    }

    fn show(&self, told: &mut File) -> Result<()> {
        let mut text = Vec::new();
        told.rewind()?;
        told.read_to_end(&mut text)?;
        let mut to = io::stdout().lock();
        writeln!(to, "\n{} of {} ({})", self.name, self.package, self.path.display())?;
        to.write_all(&text).context("standard output")
    }
}

/// Passed if all did.
pub(crate) fn together<'a>(ended: impl IntoIterator<Item = (&'a Program, Result<u8>)>) -> Outcome {
    let mut failed = Vec::new();
    for (program, ended) in ended {
        if let Outcome::Failed(how) = ended.into() {
            failed.push(format!("{} of {}: {how}", program.name, program.package));
        }
    }
    if failed.is_empty() { Outcome::Passed } else { Outcome::Failed(failed.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken_from_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","manifest_path":"/s/a/Cargo.toml","target":{"kind":["lib"],"name":"a"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","manifest_path":"/s/a/Cargo.toml","target":{"kind":["bin"],"name":"a"},"profile":{"test":false},"executable":"/t/a"}
{"reason":"compiler-artifact","package_id":"path+file:///s/a#b@0.1.0","manifest_path":"/s/a/Cargo.toml","target":{"kind":["test"],"name":"kernel"},"profile":{"test":true},"executable":"/t/deps/kernel-1"}
{"reason":"compiler-artifact","package_id":"path+file:///s/xtask#0.1.0","manifest_path":"/s/xtask/Cargo.toml","target":{"kind":["bin"],"name":"xtask"},"profile":{"test":true},"executable":"/t/deps/xtask-2"}
{"reason":"build-finished","success":true}
"#;
        let program = |package: &str, name: &str, integration, path: &str, folder: &str| Program {
            package: package.to_owned(),
            name: name.to_owned(),
            integration,
            path: path.into(),
            folder: folder.into(),
        };
        let expected = [
            program("b", "kernel", true, "/t/deps/kernel-1", "/s/a"),
            program("xtask", "xtask", false, "/t/deps/xtask-2", "/s/xtask"),
        ];
        assert_eq!(built(messages).unwrap(), expected);
    }

    #[test]
    fn one_that_fails_is_named() {
        let program = Program {
            package: "synscope-bus".into(),
            name: "live".into(),
            integration: true,
            path: "/t/live".into(),
            folder: "/s".into(),
        };
        assert!(matches!(together([(&program, Ok(0))]), Outcome::Passed));
        let failed = together([(&program, Ok(0)), (&program, Ok(101))]).to_string();
        assert_eq!(failed, "FAILED: live of synscope-bus: exit code 101");
    }
}
