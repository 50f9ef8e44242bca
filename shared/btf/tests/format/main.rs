//! The format, written by hand and by the running kernel, and read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod build;
mod damage;
mod kinds;
mod members;
mod modules;
mod render;
mod running;
