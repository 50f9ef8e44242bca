//! The tracer as a service: traces that others start, each on a thread of its own, within limits.
//!
//! A trace is compiled, loaded, read and ended on one thread. Others see its status, and tell it to end. What it made in
//! the kernel hangs on file descriptors of this process alone: it goes with the trace, and with the process.

mod answers;
mod compile;
mod deny;
mod diagnostics;
mod ending;
mod kernel;
mod lines;
mod panic;
mod probes;
mod publish;
mod settings;
mod snapshots;
mod trace;
mod traces;

pub use settings::{Settings, SettingsError};
pub use traces::Traces;
