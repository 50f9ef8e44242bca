//! Loads the kernel programs, attaches them, and owns their maps.

#![deny(missing_docs)]

pub mod agent;
pub mod attach;
mod batch;
pub mod conntrack;
pub mod edges;
pub mod events;
pub mod flow;
pub mod follow;
pub mod interfaces;
pub mod kernel;
pub mod kubernetes;
pub mod names;
pub mod netlink;
pub mod own;
pub mod pins;
pub mod publish;
pub mod questions;
pub mod reader;
pub mod settings;
pub mod signals;
pub mod uninstall;
pub mod xdp;
