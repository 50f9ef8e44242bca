//! Tests that are left out where tests run, and where they run instead: none is left out for good without a word.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::apt::output;
use crate::bpftrace;
use crate::programs::Program;
use crate::test::Outcome;
use crate::vm::suite;

/// Theirs run what we run under bpftrace too.
const COMPARED: &[&str] = &["beside", "outputs"];
/// Names a command that runs bpftrace 0.23; where nobody does, Debian's is fetched.
pub(crate) const BPFTRACE: &str = "SYNSCOPE_BPFTRACE";

/// The command that runs bpftrace.
pub(crate) fn bpftrace() -> Result<OsString> {
    std::env::var_os(BPFTRACE).map_or_else(|| bpftrace::prepare().map(OsString::from), Ok)
}

/// Whether its ignored tests only lack a bpftrace.
pub(crate) fn is_compared(program: &Program) -> bool {
    is_one_of(program, COMPARED)
}

/// What becomes of each group of them, if those that are compared ended so.
pub(crate) fn outcomes(programs: &[Program], compared: Outcome) -> Result<Vec<(String, Outcome)>> {
    let (all, listed) = (names(programs, |_| true)?, |names: &BTreeSet<String>| {
        names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    });
    let in_a_guest = suite::of_ignored();
    let groups = [(in_a_guest.as_slice(), Outcome::Elsewhere("in guests, see there".to_owned())), (COMPARED, compared)];
    let (mut outcomes, mut nowhere) = (Vec::new(), all);
    for (group, outcome) in groups {
        let of_group = names(programs, |program| is_one_of(program, group))?;
        nowhere = &nowhere - &of_group;
        outcomes.push((listed(&of_group), outcome));
    }
    let failed = |name| (name, Outcome::Failed("ignored here, and run nowhere else".to_owned()));
    outcomes.extend(nowhere.into_iter().map(failed));
    Ok(outcomes)
}

fn is_one_of(program: &Program, names: &[&str]) -> bool {
    program.integration && names.contains(&program.name.as_str())
}

/// The ignored tests of these programs.
fn names(programs: &[Program], is_asked: impl Fn(&Program) -> bool) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for program in programs.iter().filter(|program| is_asked(program)) {
        let mut list = Command::new(&program.path);
        names.extend(in_list(&output(list.args(["--ignored", "--list"]))?));
    }
    Ok(names)
}

fn in_list(listed: &str) -> BTreeSet<String> {
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_are_found_in_a_list() {
        let all = in_list("\na_tunnel: test\nmodule::nobody_runs_it: test\n\n2 tests, 0 benchmarks\n");
        assert_eq!(all, ["a_tunnel", "module::nobody_runs_it"].map(str::to_owned).into());
    }
}
