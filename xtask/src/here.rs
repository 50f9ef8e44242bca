//! The tests that need this machine's kernel, and the machine for themselves.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::behind;
use crate::ignored;
use crate::programs::Program;
use crate::test::{Outcome, SEED, ended};

/// Runs these programs' tests, but those that run [`behind`] them, one program at a time: they time handshakes and count
/// what the machine does, and must not see each other. Then those that run beside a bpftrace.
pub(crate) fn outcomes(kernel: &str, programs: &[Program], folder: &Path) -> Result<Vec<(String, Outcome)>> {
    let alone = programs.iter().filter(|program| !behind::is_aloof(program));
    let plain = together(alone.map(|program| (program, tests_of(program, None, folder))));
    let compared = match ignored::bpftrace() {
        Ok(bpftrace) => {
            let compared = programs.iter().filter(|program| ignored::is_compared(program));
            together(compared.map(|program| (program, tests_of(program, Some(&bpftrace), folder))))
        }
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    };
    let mut outcomes = vec![(format!("tests on this kernel ({kernel}) but those below"), plain)];
    outcomes.extend(ignored::outcomes(programs, compared)?);
    Ok(outcomes)
}

/// Runs all its tests but the ignored ones, or these, beside a bpftrace. What it prints is shown when it has ended, as
/// another may run beside it.
pub(crate) fn tests_of(program: &Program, bpftrace: Option<&OsStr>, folder: &Path) -> Result<u8> {
    let mut told = tempfile::tempfile_in(folder)?;
    let mut command = Command::new(&program.path);
    command.arg("--test-threads=1").current_dir(&program.folder).env("TMPDIR", folder);
    command.stdout(told.try_clone()?).stderr(told.try_clone()?);
    if let Some(bpftrace) = bpftrace {
        command.arg("--ignored").env(ignored::BPFTRACE, bpftrace);
    }
    let (seed, usual) = SEED;
    if std::env::var_os(seed).is_none() {
        command.env(seed, usual);
    }
    let code = ended(&mut command);
    show(program, &mut told)?;
    code
}

fn show(program: &Program, told: &mut File) -> Result<()> {
    let mut text = Vec::new();
    told.rewind()?;
    told.read_to_end(&mut text)?;
    let mut to = io::stdout().lock();
    writeln!(to, "\n{} of {} ({})", program.name, program.package, program.path.display())?;
    to.write_all(&text).context("standard output")
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
