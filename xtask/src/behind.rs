//! The tests that do not need the machine for themselves: they run beside those that do and beside the labs, which leave
//! most of it idle, and give way to them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::cargo::cargo;
use crate::lanes::{give_way, side_by_side};
use crate::programs::{Program, together};
use crate::test::{Outcome, ended};
use crate::vm::suite::{self, Which};
use crate::vm::{Machine, Release};

/// Packages whose tests load no kernel programs and look at nothing of the machine.
const ALOOF: [&str; 8] = [
    "synscope-abi",
    "synscope-analyzer",
    "synscope-api",
    "synscope-btf",
    "synscope-bus",
    "synscope-engine",
    "synscope-kubernetes",
    "synscope-sketch",
];
/// Kernels that the kernel tests run on besides this one: the oldest supported, with all we use, and without tcx. They take
/// longest in this order.
const OTHER_KERNELS: [Release; 3] = [Release::V5_10, Release::V6_12, Release::V6_1];
/// What an emulated machine is given: alone on a processor it takes a fifth of that.
pub(crate) const GUEST_LIMIT: Duration = Duration::from_mins(40);
/// As many as the smallest machine for tests has processors; a guest uses one.
const LANES: usize = 2;

/// What is run by itself.
enum Work<'a> {
    Guest(&'a Machine),
    Program(&'a Program),
    Examples,
}

/// Whether its tests run here.
pub(crate) fn is_aloof(program: &Program) -> bool {
    ALOOF.contains(&program.package.as_str())
}

/// Fetches what guests need; what cannot be had is told by [`outcomes`].
pub(crate) fn fetch_ahead() {
    for release in OTHER_KERNELS {
        drop(Machine::prepare(release));
    }
}

/// Runs the kernel tests on other kernels, the tests of the packages above and the examples in the documentation.
pub(crate) fn outcomes(programs: &[Program], folder: &Path) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::new();
    let mut machines = Vec::new();
    for release in OTHER_KERNELS {
        match Machine::prepare(release) {
            Ok(machine) => machines.push(machine),
            Err(error) => outcomes.push((on(release), Outcome::NotRun(format!("{error:#}")))),
        }
    }
    // The longest come first, so that the lanes end together.
    let mut work: Vec<Work<'_>> = machines.iter().map(Work::Guest).collect();
    work.extend(programs.iter().filter(|program| is_aloof(program)).map(Work::Program));
    work.push(Work::Examples);
    let ended = side_by_side(&work, LANES, |work| work.run(programs, folder));
    let mut aloof = Vec::new();
    for (work, ended) in work.iter().zip(ended) {
        match work {
            Work::Guest(machine) => outcomes.push((on(machine.release()), ended.into())),
            Work::Program(program) => aloof.push((*program, ended)),
            Work::Examples => outcomes.push(("examples in the documentation".to_owned(), ended.into())),
        }
    }
    outcomes.push(("tests that touch no kernel, beside the others".to_owned(), together(aloof)));
    outcomes
}

fn on(release: Release) -> String {
    format!("kernel tests on {}, in an emulated machine", release.name())
}

impl Work<'_> {
    fn run(&self, programs: &[Program], folder: &Path) -> Result<u8> {
        give_way()?;
        match self {
            Self::Guest(machine) => suite::run(programs, machine, Which::Usual, &[], GUEST_LIMIT),
            Self::Program(program) => program.tests(None, folder),
            Self::Examples => examples(),
        }
    }
}

fn examples() -> Result<u8> {
    ended(&mut cargo(&["test", "--quiet", "--doc", "--workspace", "--locked"]))
}
