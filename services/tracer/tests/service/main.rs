//! The service: a real nats-server, two tracers as two nodes, real tracepoints of this kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../../../../shared/bus/tests/nats/mod.rs"]
mod nats;

#[path = "../busy/mod.rs"]
mod busy;

mod life;
mod limits;
mod merge;
mod network;
mod node;
mod probes;
mod rights;
mod traffic;
mod work;
