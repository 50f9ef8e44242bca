//! What the services share with each other.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod connection;
pub mod envelope;
pub mod message;
pub mod outbox;
pub mod sequence;
pub mod sketch;
pub mod subject;
