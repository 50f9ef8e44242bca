//! What the bus promises over a real nats-server: one program, because each would carry all of the bus.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../nats/mod.rs"]
mod nats;

mod follow;
mod outbox;
mod reader;
mod stored;
mod subscriber;
