//! All tests, what they may have left behind, and what ran where.

use std::fmt;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::behind;
use crate::here;
use crate::ignored;
use crate::lab;
use crate::leftovers;
use crate::programs;

/// Scenarios that are played live; the others' recordings are replayed by the analyzer's tests.
const LIVE_LABS: [&[&str]; 4] =
    [&["ct-full", "--subscriber", SUBSCRIBER], &["ct-full", "--kill"], &["quiet"], &["seed"]];
const SUBSCRIBER: &str = "examples/subscribe.py";
/// Property tests draw the same cases in every run unless told another seed: a run that fails does so again.
pub(crate) const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

/// How a group of tests ended.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
    /// Not run here, and not meant to be.
    Elsewhere(String),
}

/// Of work whose result is that it was done.
impl From<Result<()>> for Outcome {
    fn from(ended: Result<()>) -> Self {
        ended.map(|()| 0).into()
    }
}

/// Of a command that was run: its exit code.
impl From<Result<u8>> for Outcome {
    fn from(ended: Result<u8>) -> Self {
        match ended {
            Ok(0) => Self::Passed,
            Ok(code) => Self::Failed(format!("exit code {code}")),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(to, "passed"),
            Self::Failed(how) => write!(to, "FAILED: {how}"),
            Self::NotRun(why) => write!(to, "NOT RUN: {why}"),
            Self::Elsewhere(place) => write!(to, "{place}"),
        }
    }
}

/// Runs every test of the workspace, plays the live labs, runs the kernel tests on other kernels, and says what ran where,
/// however they ended.
pub(crate) fn run() -> Result<()> {
    leftovers::remove()?;
    let this_kernel = this_kernel()?;
    let programs = thread::scope(|scope| {
        scope.spawn(fetch_ahead);
        programs::build()
    })?;
    let folder = leftovers::folder()?;
    let mut outcomes = thread::scope(|scope| {
        let behind = scope.spawn(|| behind::outcomes(&programs, folder.path()));
        let here = here::outcomes(&this_kernel, &programs, folder.path());
        let mut outcomes =
            here.unwrap_or_else(|error| vec![("tests on this kernel".to_owned(), Err::<u8, _>(error).into())]);
        outcomes.extend(labs());
        let panicked = |_| vec![("tests beside the others".to_owned(), Outcome::Failed("xtask panicked".to_owned()))];
        outcomes.extend(behind.join().unwrap_or_else(panicked));
        outcomes
    });
    drop(folder);
    outcomes.push(("removing what killed tests left".to_owned(), leftovers::remove().into()));
    println!("\nwhat ran where:");
    for (what, outcome) in &outcomes {
        println!("  {what}: {outcome}");
    }
    verdict(outcomes.iter().map(|(_, outcome)| outcome), std::env::var_os("CI").is_some())
}

fn labs() -> Vec<(String, Outcome)> {
    let play = |arguments: &[&str]| {
        let scenario = arguments.join(" ");
        println!("lab {scenario}, live");
        let played = lab::run_as_tested(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        (format!("lab {scenario}, live, on this kernel"), played.into())
    };
    LIVE_LABS.into_iter().map(play).collect()
}

/// What could not run is a failure only where it must.
fn verdict<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>, must_all_run: bool) -> Result<()> {
    for outcome in outcomes {
        match outcome {
            Outcome::Failed(_) => bail!("tests failed"),
            Outcome::NotRun(_) if must_all_run => bail!("tests did not run that must run in CI"),
            Outcome::NotRun(_) | Outcome::Passed | Outcome::Elsewhere(_) => {}
        }
    }
    Ok(())
}

fn this_kernel() -> Result<String> {
    Ok(nix::sys::utsname::uname()?.release().to_string_lossy().into_owned())
}

/// Fetches what is asked for later, while the tests are built; what cannot be had is told there.
fn fetch_ahead() {
    drop(ignored::bpftrace());
    behind::fetch_ahead();
}

/// A command's exit code.
pub(crate) fn ended(command: &mut Command) -> Result<u8> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_fails_and_what_did_not_run_fails_in_ci_only() {
        let not_run = || Outcome::NotRun("no mirror".to_owned());
        assert!(verdict(&[Outcome::Passed, Outcome::Elsewhere("on 6.12".to_owned())], true).is_ok());
        assert!(verdict(&[Outcome::Passed, not_run()], false).is_ok());
        assert!(verdict(&[Outcome::Passed, not_run()], true).is_err());
        assert!(verdict(&[not_run(), Outcome::Failed("1".to_owned())], false).is_err());
    }

    #[test]
    fn what_could_not_even_begin_has_failed_with_its_causes() {
        let error = anyhow::anyhow!("no such file").context("cannot run the lab");
        assert_eq!(Outcome::from(Err::<u8, _>(error)).to_string(), "FAILED: cannot run the lab: no such file");
    }

    #[test]
    fn what_did_not_run_is_said_loudly() {
        assert_eq!(Outcome::NotRun("no mirror".to_owned()).to_string(), "NOT RUN: no mirror");
    }
}
