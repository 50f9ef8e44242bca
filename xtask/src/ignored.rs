//! Tests that `cargo test` leaves out, and where they run instead: none is left out for good without a word.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::apt::output;
use crate::bpftrace;
use crate::ebpf::root;
use crate::test::{Outcome, ended};

/// Its tests that are left out here run in a guest, see `vm::suite`.
const IN_A_GUEST: &[&str] = &["curated", "devices", "functions", "seed"];
/// Theirs run what we run under bpftrace too.
const COMPARED: &[&str] = &["beside", "outputs"];
/// What takes too long in an emulated machine to run each time: bpftrace does.
const BY_HAND: &[&str] = &["beside_functions"];
const HOW: &str = "NOT RUN, not even in CI, as it takes minutes: SYNSCOPE_BPFTRACE=$(cargo xtask bpftrace) \
    cargo xtask vm --kernel 6.12 --timeout 1200 -- PROGRAM --ignored";
/// Names a command that runs bpftrace 0.23; where nobody does, Debian's is fetched.
pub(crate) const BPFTRACE: &str = "SYNSCOPE_BPFTRACE";

/// What becomes of each group of them; runs those that only lack a program.
pub(crate) fn outcomes() -> Result<Vec<(String, Outcome)>> {
    let (all, in_a_guest, compared, by_hand) = (names(&[])?, names(IN_A_GUEST)?, names(COMPARED)?, names(BY_HAND)?);
    let listed = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut outcomes = vec![(listed(&in_a_guest), Outcome::Elsewhere("in guests, see there".to_owned()))];
    let comparison = match bpftrace() {
        Ok(command) => {
            let mut compare = cargo(COMPARED);
            ended(compare.args(["--", "--ignored", "--test-threads=1"]).env(BPFTRACE, command)).into()
        }
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    };
    outcomes.push((listed(&compared), comparison));
    outcomes.push((listed(&by_hand), Outcome::Elsewhere(HOW.to_owned())));
    let nowhere = nowhere(&all, &[&in_a_guest, &compared, &by_hand]);
    outcomes.extend(
        nowhere.into_iter().map(|name| (name, Outcome::Failed("ignored here, and run nowhere else".to_owned()))),
    );
    Ok(outcomes)
}

/// The command that runs bpftrace.
pub(crate) fn bpftrace() -> Result<OsString> {
    std::env::var_os(BPFTRACE).map_or_else(|| bpftrace::prepare().map(OsString::from), Ok)
}

/// Those that no group has.
fn nowhere(all: &BTreeSet<String>, groups: &[&BTreeSet<String>]) -> BTreeSet<String> {
    groups.iter().fold(all.clone(), |left, group| &left - group)
}

/// The ignored tests of these programs, or of all.
fn names(programs: &[&str]) -> Result<BTreeSet<String>> {
    let listed = output(cargo(programs).args(["--quiet", "--", "--ignored", "--list"]).stderr(Stdio::inherit()))?;
    Ok(in_list(&listed))
}

/// With the workspace's features: nothing is built anew.
fn cargo(programs: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--locked"]).current_dir(root());
    if programs.is_empty() {
        cargo.arg("--tests");
    }
    cargo.args(programs.iter().flat_map(|name| ["--test", name]));
    cargo
}

fn in_list(listed: &str) -> BTreeSet<String> {
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_no_group_runs_is_found() {
        let all = in_list("\na_tunnel: test\nmodule::nobody_runs_it: test\n\n2 tests, 0 benchmarks\n");
        let known = in_list("a_tunnel: test\n");
        assert_eq!(nowhere(&all, &[&known, &BTreeSet::new()]), ["module::nobody_runs_it".to_owned()].into());
    }
}
