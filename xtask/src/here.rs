//! The tests on this machine's kernel.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::ebpf::root;
use crate::ignored;
use crate::lanes::side_by_side;
use crate::leftovers;
use crate::programs::Program;
use crate::test::{Outcome, SEED, ended};

/// Packages whose tests load no kernel programs and look at nothing of the machine: they run beside the others', and give
/// way to them. Those time handshakes and count what the machine does: one at a time, so that they don't see each other.
const ALOOF: [&str; 7] = [
    "synscope-abi",
    "synscope-analyzer",
    "synscope-api",
    "synscope-btf",
    "synscope-bus",
    "synscope-engine",
    "synscope-sketch",
];

/// A program and what it is to run: all but its ignored tests, or these, beside a bpftrace.
#[derive(Clone, Copy)]
struct Run<'a> {
    program: &'a Program,
    bpftrace: Option<&'a OsStr>,
}

/// Runs every test of these programs, those under bpftrace too, and the examples in the documentation.
pub(crate) fn outcomes(kernel: &str, programs: &[Program]) -> Result<Vec<(String, Outcome)>> {
    let folder = leftovers::folder()?;
    let bpftrace = ignored::bpftrace();
    let plain = |program| Run { program, bpftrace: None };
    let (beside, alone): (Vec<&Program>, Vec<_>) =
        programs.iter().partition(|program| ALOOF.contains(&program.package.as_str()));
    let mut alone: Vec<_> = alone.into_iter().map(plain).collect();
    if let Ok(command) = &bpftrace {
        let compared = programs.iter().filter(|program| ignored::is_compared(program));
        alone.extend(compared.map(|program| Run { program, bpftrace: Some(command) }));
    }
    let lanes = [(alone, "0"), (beside.into_iter().map(plain).collect(), "10")];
    let ended = side_by_side(&lanes, lanes.len(), |(lane, niceness)| {
        lane.iter().map(|run| (*run, run.ended(niceness, folder.path()))).collect::<Vec<_>>()
    });
    let (compared, plain): (Vec<_>, Vec<_>) =
        ended.into_iter().flatten().partition(|(run, _ended)| run.bpftrace.is_some());
    let compared = match &bpftrace {
        Ok(_) => together(compared),
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    };
    let mut outcomes = vec![(format!("all tests on this kernel ({kernel}) but those below"), together(plain))];
    outcomes.push(("examples in the documentation".to_owned(), examples().into()));
    outcomes.extend(ignored::outcomes(programs, compared)?);
    Ok(outcomes)
}

/// Passed if all did.
fn together(ended: Vec<(Run<'_>, Result<u8>)>) -> Outcome {
    let mut failed = Vec::new();
    for (Run { program, .. }, ended) in ended {
        if let Outcome::Failed(how) = ended.into() {
            failed.push(format!("{} of {}: {how}", program.name, program.package));
        }
    }
    if failed.is_empty() { Outcome::Passed } else { Outcome::Failed(failed.join("; ")) }
}

fn examples() -> Result<u8> {
    ended(Command::new("cargo").args(["test", "--quiet", "--doc", "--workspace", "--locked"]).current_dir(root()))
}

impl Run<'_> {
    /// Its exit code. What it prints is shown when it has ended, as another may run beside it.
    fn ended(&self, niceness: &str, folder: &Path) -> Result<u8> {
        let mut told = tempfile::tempfile_in(folder)?;
        let mut command = Command::new("nice");
        command.args(["-n", niceness]).arg(&self.program.path).arg("--test-threads=1");
        command.current_dir(&self.program.folder).env("TMPDIR", folder);
        command.stdout(told.try_clone()?).stderr(told.try_clone()?);
        if let Some(bpftrace) = self.bpftrace {
            command.arg("--ignored").env(ignored::BPFTRACE, bpftrace);
        }
        let (seed, usual) = SEED;
        if std::env::var_os(seed).is_none() {
            command.env(seed, usual);
        }
        let code = ended(&mut command);
        show(self.program, &mut told)?;
        code
    }
}

fn show(program: &Program, told: &mut File) -> Result<()> {
    let mut text = Vec::new();
    told.rewind()?;
    told.read_to_end(&mut text)?;
    let mut to = io::stdout().lock();
    writeln!(to, "\n{} of {} ({})", program.name, program.package, program.path.display())?;
    to.write_all(&text).context("standard output")
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
        let run = Run { program: &program, bpftrace: None };
        assert!(matches!(together(vec![(run, Ok(0))]), Outcome::Passed));
        let failed = together(vec![(run, Ok(0)), (run, Ok(101))]).to_string();
        assert_eq!(failed, "FAILED: live of synscope-bus: exit code 101");
    }
}
