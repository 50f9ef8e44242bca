//! What the services share with each other.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "what others publish through is made of them")]

pub mod clock;
pub mod command;
pub mod command_line;
pub mod configuration;
pub mod connection;
pub mod document;
pub mod endpoint;
pub mod envelope;
pub mod events;
pub mod health;
pub mod inbox;
pub mod labels;
pub mod life;
pub mod message;
pub mod outbox;
pub mod permissions;
pub mod privileges;
pub mod reader;
pub mod reasons;
pub mod sequence;
pub mod service;
pub mod snapshot;
pub mod streams;
pub mod subject;
pub mod telemetry;

/// Latencies as they travel.
pub use synscope_sketch as sketch;
