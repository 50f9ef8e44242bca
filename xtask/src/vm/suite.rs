//! The kernel tests: built here, run in a guest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Machine, Release};
use crate::apt::{checked, output};
use crate::ebpf::root;

const DATAPATH: &str = "synscope-datapath";
const CLI: &str = "synscope-cli";
const TRACER: &str = "synscope-tracer";

/// A test program, the arguments it gets, and the kernels that it runs on.
struct Test {
    package: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
    on: &'static [Release],
}

/// All that load and attach, of `kernel` on 6.1 only what loads and sweeps, which 5.10 does not; of `devices` those that
/// this kernel has no devices for; of the whole service what it says about kernels that lack something; and the tracer at
/// functions, which this machine's kernel may not let be probed, alone and under the rules of a service.
const TESTS: [Test; 9] = [
    Test { package: DATAPATH, name: "kernel", arguments: &[], on: &[Release::V5_10, Release::V6_12, Release::V7_3] },
    Test { package: DATAPATH, name: "kernel", arguments: &["sweep::"], on: &[Release::V6_1] },
    Test { package: DATAPATH, name: "attach", arguments: &[], on: &Release::ALL },
    Test { package: CLI, name: "functions", arguments: &["--ignored"], on: &[Release::V6_1, Release::V6_12] },
    Test { package: CLI, name: "seed", arguments: &["--ignored"], on: &[Release::V6_1, Release::V6_12] },
    Test { package: CLI, name: "curated", arguments: &["--ignored"], on: &[Release::V6_1, Release::V6_12] },
    Test { package: TRACER, name: "functions", arguments: &["--ignored"], on: &[Release::V6_12] },
    Test { package: DATAPATH, name: "devices", arguments: &["--ignored"], on: &[Release::V6_12] },
    Test {
        package: DATAPATH,
        name: "service",
        arguments: &["what_this_kernel_cannot_do_is_in_status_and_health"],
        on: &[Release::V5_10, Release::V6_1],
    },
];
/// Guests at once: one for each of two processors, as a guest has one.
const GUESTS: usize = 2;
/// What they start.
const EXAMPLE: &str = "hold";

/// Test programs that were built.
pub(crate) struct Suite {
    programs: Vec<(PathBuf, Test)>,
}

impl Suite {
    /// Builds the test programs as `cargo test --workspace` does, so that neither builds anew what the other built.
    pub(crate) fn build() -> Result<Self> {
        let cargo = |arguments: &[&str]| {
            let mut command = Command::new("cargo");
            command.args(arguments).args(["--workspace", "--locked"]).current_dir(root()).stderr(Stdio::inherit());
            command
        };
        checked(&mut cargo(&["build", "--quiet", "--example", EXAMPLE]))?;
        let mut tests = cargo(&["test", "--quiet", "--no-run", "--message-format=json-render-diagnostics"]);
        let messages = output(tests.args(TESTS.iter().flat_map(|test| ["--test", test.name])))?;
        let built = programs(&messages)?;
        let mut programs = Vec::new();
        for test in TESTS {
            let path = built.get(&(test.package.to_owned(), test.name.to_owned())).cloned();
            let path = path.with_context(|| format!("of {}'s test {} cargo built nothing", test.package, test.name))?;
            programs.push((path, test));
        }
        Ok(Self { programs })
    }

    /// Runs them on each machine, with more arguments for each, one test at a time in a guest; by machine the first exit
    /// code that is not 0.
    pub(crate) fn run(&self, machines: &[Machine], arguments: &[String], limit: Duration) -> Vec<Result<u8>> {
        // The programs come longest first, so that no guest begins a long one when the others are done.
        let runs_on = |machine: &Machine, test: &Test| test.on.contains(&machine.release());
        let jobs: Vec<_> = self
            .programs
            .iter()
            .flat_map(|(program, test)| machines.iter().enumerate().map(move |at| (at, program, test)))
            .filter(|((_, machine), _, test)| runs_on(machine, test))
            .collect();
        let codes = side_by_side(&jobs, GUESTS, |((_, machine), program, test)| {
            let mut command = vec![program.to_string_lossy().into_owned(), "--test-threads=1".to_owned()];
            command.extend(test.arguments.iter().map(ToString::to_string));
            command.extend_from_slice(arguments);
            machine.run(&command, limit, &format!("{} {}: ", machine.release().name(), test.name))
        });
        let mut ended: Vec<Result<u8>> = machines.iter().map(|_| Ok(0)).collect();
        for (((place, _), ..), code) in jobs.into_iter().zip(codes) {
            if let Some(ended @ Ok(0)) = ended.get_mut(place) {
                *ended = code;
            }
        }
        ended
    }
}

/// What `run` makes of each job, in the jobs' order; they begin in that order, so many at once.
fn side_by_side<J: Sync, R: Send>(jobs: &[J], at_once: usize, run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(jobs.iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let done = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((place, job)) = next() {
            let result = run(job);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(place, result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Test programs by package and name in cargo's messages: packages may have tests of the same name.
fn programs(messages: &str) -> Result<BTreeMap<(String, String), PathBuf>> {
    let mut found = BTreeMap::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's messages")?;
        // `path+file:///folder#name@version`
        let id = message["package_id"].as_str().and_then(|id| id.rsplit_once('#')?.1.split_once('@'));
        let is_test = message["profile"]["test"] == true && message["target"]["kind"][0] == "test";
        let built = message["target"]["name"].as_str().zip(message["executable"].as_str());
        if let (true, Some((package, _version)), Some((name, path))) = (is_test, id, built) {
            found.insert((package.to_owned(), name.to_owned()), PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn as_many_run_as_may_and_results_come_in_the_jobs_order() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let doubled = side_by_side(&[1, 2, 3, 4, 5], 2, |job| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first waits until another runs beside it.
            let start = Instant::now();
            while most.load(Ordering::SeqCst) < 2 && start.elapsed() < Duration::from_secs(10) {
                thread::yield_now();
            }
            running.fetch_sub(1, Ordering::SeqCst);
            job * 2
        });
        assert_eq!((doubled, most.into_inner()), (vec![2, 4, 6, 8, 10], 2));
    }

    #[test]
    fn only_test_programs_are_taken_from_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","target":{"kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","target":{"kind":["bin"]},"profile":{"test":false},"executable":"/t/a"}
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","target":{"kind":["test"],"name":"kernel"},"profile":{"test":true},"executable":"/t/deps/kernel-1"}
{"reason":"compiler-artifact","package_id":"path+file:///s/b#b@0.1.0","target":{"kind":["test"],"name":"kernel"},"profile":{"test":true},"executable":"/t/deps/kernel-2"}
{"reason":"build-finished","success":true}
"#;
        let of = |package: &str| (package.to_owned(), "kernel".to_owned());
        let expected = [(of("a"), "/t/deps/kernel-1".into()), (of("b"), "/t/deps/kernel-2".into())];
        assert_eq!(programs(messages).unwrap(), expected.into());
    }
}
