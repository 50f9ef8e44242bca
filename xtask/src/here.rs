//! The tests that need this machine's kernel, and the machine for themselves.

use std::path::Path;

use anyhow::Result;

use crate::behind;
use crate::ignored;
use crate::programs::{Program, together};
use crate::test::Outcome;

/// Runs these programs' tests, but those that run [`behind`] them, one program at a time: they time handshakes and count
/// what the machine does, and must not see each other. Then those that run beside a bpftrace.
pub(crate) fn outcomes(kernel: &str, programs: &[Program], folder: &Path) -> Result<Vec<(String, Outcome)>> {
    let alone = programs.iter().filter(|program| !behind::is_aloof(program));
    let plain = together(alone.map(|program| (program, program.tests(None, folder))));
    let compared = match ignored::bpftrace() {
        Ok(bpftrace) => {
            let compared = programs.iter().filter(|program| ignored::is_compared(program));
            together(compared.map(|program| (program, program.tests(Some(&bpftrace), folder))))
        }
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    };
    let mut outcomes = vec![(format!("tests on this kernel ({kernel}) but those below"), plain)];
    outcomes.extend(ignored::outcomes(programs, compared)?);
    Ok(outcomes)
}
