//! The kernel tests: built here, run in a guest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Machine, Release};
use crate::apt::{checked, output};
use crate::ebpf::root;

const PACKAGE: &str = "synscope-datapath";

/// A test program, the arguments it gets, and the kernels that it runs on.
struct Test {
    name: &'static str,
    arguments: &'static [&'static str],
    on: &'static [Release],
}

/// All that load and attach; of `devices` those that this kernel has no devices for; of the whole service what it says
/// about kernels that lack something.
const TESTS: [Test; 4] = [
    Test { name: "kernel", arguments: &[], on: &Release::ALL },
    Test { name: "attach", arguments: &[], on: &Release::ALL },
    Test { name: "devices", arguments: &["--ignored"], on: &[Release::V6_12] },
    Test {
        name: "service",
        arguments: &["what_this_kernel_cannot_do_is_in_status_and_health"],
        on: &[Release::V5_10, Release::V6_1],
    },
];
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
        let built = programs(&messages, PACKAGE)?;
        let mut programs = Vec::new();
        for test in TESTS {
            let path =
                built.get(test.name).with_context(|| format!("of the test {} cargo built nothing", test.name))?;
            programs.push((path.clone(), test));
        }
        Ok(Self { programs })
    }

    /// Runs them, with more arguments for each, one test at a time; returns the first exit code that is not 0.
    pub(crate) fn run(&self, machine: &Machine, arguments: &[String], limit: Duration) -> Result<u8> {
        for (program, test) in self.programs.iter().filter(|(_, test)| test.on.contains(&machine.release())) {
            let mut command = vec![program.to_string_lossy().into_owned(), "--test-threads=1".to_owned()];
            command.extend(test.arguments.iter().map(ToString::to_string));
            command.extend_from_slice(arguments);
            let code = machine.run(&command, limit)?;
            if code != 0 {
                return Ok(code);
            }
        }
        Ok(0)
    }
}

/// A package's test programs by name in cargo's messages: others may have tests of the same name.
fn programs(messages: &str, package: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's messages")?;
        let of_package = message["package_id"].as_str().is_some_and(|id| id.contains(&format!("#{package}@")));
        let is_test = of_package && message["profile"]["test"] == true && message["target"]["kind"][0] == "test";
        let built = message["target"]["name"].as_str().zip(message["executable"].as_str());
        if let Some((name, path)) = built.filter(|_| is_test) {
            found.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken_from_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","target":{"kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","target":{"kind":["bin"]},"profile":{"test":false},"executable":"/t/a"}
{"reason":"compiler-artifact","package_id":"path+file:///s/a#a@0.1.0","target":{"kind":["test"],"name":"kernel"},"profile":{"test":true},"executable":"/t/deps/kernel-1"}
{"reason":"compiler-artifact","package_id":"path+file:///s/b#b@0.1.0","target":{"kind":["test"],"name":"kernel"},"profile":{"test":true},"executable":"/t/deps/kernel-2"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(programs(messages, "a").unwrap(), [("kernel".into(), "/t/deps/kernel-1".into())].into());
    }
}
