//! The service ends in order when it is told to, whoever is away.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../../shared/bus/tests/ending/mod.rs"]
mod ending;

use std::process::Command;
use std::time::Duration;

#[test]
fn it_ends_within_five_seconds_though_nats_is_away() {
    let mut service = Command::new(env!("CARGO_BIN_EXE_synscope-api"));
    service.env("SYNSCOPE_LISTEN", "127.0.0.1:0");
    let (status, took) = ending::terminated_without_nats(&mut service, "starts");
    assert!(status.success() && took < Duration::from_secs(5), "{status}, {took:?}");
}
