//! Loads the kernel programs, attaches them, and owns their maps.

#![deny(missing_docs)]

pub mod attach;
pub mod events;
pub mod flow;
pub mod kernel;
pub mod pins;
