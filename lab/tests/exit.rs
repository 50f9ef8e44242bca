//! How the lab ends when it cannot play: with a reason, status 2, and its JSON document.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synscope-lab")).args(arguments).output().unwrap()
}

#[test]
fn a_scenario_that_there_is_not_is_refused_with_those_that_there_are() {
    let output = lab(&["ct-ful", "--json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("\"ct-ful\"") && said.contains("ct-full, quiet"), "{said}");
    assert_eq!(lab(&["--no-such-option"]).status.code(), Some(2));
}

#[test]
fn what_cannot_be_set_up_ends_with_a_document_and_leaves_nothing_behind() {
    let output = lab(&["quiet", "--json", "--nats", "/nowhere/nats-server"]);
    let (result, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(2), "{said}");
    let document: serde_json::Value = serde_json::from_str(result.lines().last().unwrap()).unwrap();
    assert_eq!((&document["scenario"], &document["passed"]), (&"quiet".into(), &false.into()));
    assert!(document["incident"].is_null() && document["loss"]["produced"] == 0, "{document}");
    let reason = document["checks"][0]["actual"].as_str().unwrap();
    assert!(reason.contains("cannot start /nowhere/nats-server"), "{reason}");
    assert!(!said.contains("left behind"), "{said}");
}
