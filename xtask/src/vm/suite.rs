//! The kernel tests: built here, run in a guest.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Machine, Release};
use crate::apt::checked;
use crate::ebpf::root;
use crate::lanes::side_by_side;
use crate::programs::{self, Program};

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
    programs: Vec<Program>,
}

impl Suite {
    /// Builds the test programs, and what they start.
    pub(crate) fn build() -> Result<Self> {
        let mut example = Command::new("cargo");
        example.args(["build", "--quiet", "--workspace", "--locked", "--example", EXAMPLE]).current_dir(root());
        checked(&mut example)?;
        Ok(Self { programs: programs::build(&TESTS.map(|test| test.name))? })
    }

    fn program(&self, test: &Test) -> Result<&Program> {
        let is_it =
            |program: &&Program| program.integration && program.package == test.package && program.name == test.name;
        let found = self.programs.iter().find(is_it);
        found.with_context(|| format!("of {}'s test {} cargo built nothing", test.package, test.name))
    }

    /// Runs them on each machine, with more arguments for each, one test at a time in a guest; by machine the first exit
    /// code that is not 0.
    pub(crate) fn run(&self, machines: &[Machine], arguments: &[String], limit: Duration) -> Vec<Result<u8>> {
        // The tests come longest first, so that no guest begins a long one when the others are done.
        let on_each = |test| machines.iter().enumerate().map(move |(place, machine)| (place, machine, test));
        let jobs: Vec<(usize, &Machine, &Test)> =
            TESTS.iter().flat_map(on_each).filter(|(_, machine, test)| test.on.contains(&machine.release())).collect();
        let codes = side_by_side(&jobs, GUESTS, |(_, machine, test)| {
            let mut command =
                vec![self.program(test)?.path.to_string_lossy().into_owned(), "--test-threads=1".to_owned()];
            command.extend(test.arguments.iter().map(ToString::to_string));
            command.extend_from_slice(arguments);
            machine.run(&command, limit, &format!("{} {}: ", machine.release().name(), test.name))
        });
        let mut ended: Vec<Result<u8>> = machines.iter().map(|_| Ok(0)).collect();
        for ((place, ..), code) in jobs.into_iter().zip(codes) {
            if let Some(ended @ Ok(0)) = ended.get_mut(place) {
                *ended = code;
            }
        }
        ended
    }
}
