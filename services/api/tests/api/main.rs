//! What the API promises, over a real port and with a real nats-server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../../../../shared/bus/tests/nats/mod.rs"]
mod nats;

#[allow(dead_code, reason = "pods are watched elsewhere")]
#[path = "../../../../shared/kubernetes/tests/api/mod.rs"]
mod kubernetes_api;

mod access;
mod description;
mod errors;
mod fixes;
mod flows;
mod kubernetes;
mod outage;
mod routes;
mod service;
mod traces;
