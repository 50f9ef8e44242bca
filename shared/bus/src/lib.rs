//! What the services share with each other.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod message;
pub mod sketch;
pub mod subject;
