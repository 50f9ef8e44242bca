//! The kernel tests: built here, run in a guest.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::{Machine, Release, command_line};
use crate::ignored;
use crate::programs::Program;

const DATAPATH: &str = "synscope-datapath";
const CLI: &str = "synscope-cli";
const TRACER: &str = "synscope-tracer";
/// Tests that need what this machine's kernel may not have.
const IGNORED: &[&str] = &["--ignored"];

/// Runs beside bpftrace.
const BESIDE: &str = "beside_functions";

/// Which of a kernel's tests are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that `cargo xtask test` runs each time.
    Usual,
    /// Those too that are run by hand: `cargo xtask vm --kernel … --tests`.
    All,
}

/// A test program, the arguments it gets, and the kernels that it runs on.
struct Test {
    package: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
    on: &'static [Release],
    /// Kernels that it runs on by hand.
    also_on: &'static [Release],
}

/// All that load and attach, on 6.1 by hand, which attaches as 5.10 does and sweeps as 6.12 does; of `devices` those that
/// this kernel has no devices for; of the whole service what it says about kernels that lack something; and the tracer at
/// functions, which this machine's kernel may not let be probed, alone, under the rules of a service and beside bpftrace.
/// What locks the kernel down comes last: nothing undoes it.
const TESTS: [Test; 15] = [
    usual(DATAPATH, "kernel", &[], &[Release::V5_10, Release::V6_12, Release::V7_3]),
    Test { also_on: &[Release::V6_1], ..usual(DATAPATH, "kernel", &["sweep::"], &[]) },
    Test {
        also_on: &[Release::V6_1],
        ..usual(DATAPATH, "attach", &[], &[Release::V5_10, Release::V6_12, Release::V7_3])
    },
    Test { also_on: &[Release::V7_3], ..usual(CLI, "functions", IGNORED, &[Release::V6_1, Release::V6_12]) },
    Test { also_on: &[Release::V6_12, Release::V7_3], ..usual(CLI, "modules", IGNORED, &[Release::V6_1]) },
    Test { also_on: &[Release::V7_3], ..usual(CLI, "many", IGNORED, &[Release::V6_12]) },
    Test { also_on: &[Release::V5_10, Release::V7_3], ..usual(CLI, "seed", IGNORED, &[Release::V6_1, Release::V6_12]) },
    Test { also_on: &[Release::V7_3], ..usual(CLI, "curated", IGNORED, &[Release::V6_1, Release::V6_12]) },
    // 5.10 tells nothing of modules' types, which its curated probes need as well.
    Test { also_on: &[Release::V5_10], ..usual(CLI, "functions", &["--ignored", "--skip", "modules"], &[]) },
    Test { also_on: &[Release::V5_10, Release::V7_3], ..usual(TRACER, "functions", IGNORED, &[Release::V6_12]) },
    Test { also_on: &[Release::V5_10, Release::V6_1, Release::V7_3], ..usual(CLI, "series", &[], &[Release::V6_12]) },
    usual(CLI, BESIDE, IGNORED, &[Release::V6_12]),
    usual(DATAPATH, "devices", IGNORED, &[Release::V6_12]),
    Test {
        also_on: &[Release::V6_1],
        ..usual(DATAPATH, "service", &["what_this_kernel_cannot_do_is_in_status_and_health"], &[Release::V5_10])
    },
    usual(CLI, "lockdown", IGNORED, &[Release::V6_12]),
];

const fn usual(
    package: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
    on: &'static [Release],
) -> Test {
    Test { package, name, arguments, on, also_on: &[] }
}

/// Test programs of which each usual run runs all ignored tests in a guest.
pub(crate) fn of_ignored() -> Vec<&'static str> {
    let all = TESTS.iter().filter(|test| test.arguments == IGNORED && !test.on.is_empty());
    all.map(|test| test.name).collect()
}

/// Runs the kernel tests among these programs on this machine, one after the other, with more arguments for each; the exit
/// code of the last that failed, else 0.
pub(crate) fn run(
    programs: &[Program],
    machine: &Machine,
    which: Which,
    arguments: &[String],
    limit: Duration,
) -> Result<u8> {
    let mut script = "failed=0\n".to_owned();
    let release = machine.release();
    let wanted = |test: &&Test| test.on.contains(&release) || which == Which::All && test.also_on.contains(&release);
    for test in TESTS.iter().filter(wanted) {
        if test.name == BESIDE {
            script.push_str(&exported(ignored::bpftrace())?);
        }
        script.push_str(&test.script(programs, arguments)?);
    }
    script.push_str("exit $failed\n");
    machine.run(&script, limit, &format!("{}: ", machine.release().name()))
}

/// Names bpftrace to what comes after; where there is none, that says so, and the others run.
fn exported(bpftrace: Result<OsString>) -> Result<String> {
    let name = ignored::BPFTRACE;
    Ok(match bpftrace {
        Ok(bpftrace) => {
            let path = bpftrace.into_string().map_err(|path| anyhow!("{} is no text", path.display()))?;
            format!("export {}\n", command_line(&[format!("{name}={path}")]))
        }
        Err(error) => format!("echo {}\n", command_line(&[format!("no bpftrace: {error:#}")])),
    })
}

impl Test {
    /// Says what it runs, runs it, and keeps and says how it failed.
    fn script(&self, programs: &[Program], arguments: &[String]) -> Result<String> {
        let Self { package, name, .. } = self;
        let is_it = |program: &&Program| program.integration && program.package == *package && program.name == *name;
        let program = programs.iter().find(is_it);
        let program = program.with_context(|| format!("of {package}'s test {name} cargo built nothing"))?;
        let mut words = vec![program.path.to_string_lossy().into_owned(), "--test-threads=1".to_owned()];
        words.extend(self.arguments.iter().map(ToString::to_string));
        words.extend_from_slice(arguments);
        let command = command_line(&words);
        Ok(format!(
            "echo; echo '{name} of {package}'\n\
             {command} || {{ failed=$?; echo \"{name} of {package} FAILED: exit code $failed\"; }}\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn one_that_fails_is_named_and_those_after_it_run() {
        let program = |name: &str, path: &str| Program {
            package: DATAPATH.to_owned(),
            name: name.to_owned(),
            integration: true,
            path: path.into(),
            folder: "/".into(),
        };
        let test = |name| usual(DATAPATH, name, &[], &[]);
        let programs = [program("kernel", "/bin/false"), program("attach", "/bin/true")];
        let script = |name| test(name).script(&programs, &[]).unwrap();
        let all = format!("failed=0\n{}{}exit $failed", script("kernel"), script("attach"));
        let ran = Command::new("sh").args(["-c", &all]).output().unwrap();
        let told = "\nkernel of synscope-datapath\nkernel of synscope-datapath FAILED: exit code 1\n\
            \nattach of synscope-datapath\n";
        assert_eq!((String::from_utf8_lossy(&ran.stdout).as_ref(), ran.status.code()), (told, Some(1)));
        assert!(test("service").script(&programs, &[]).unwrap_err().to_string().contains("service"));
    }
}
