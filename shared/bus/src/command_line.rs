//! What the services' command lines have in common.

use clap::Subcommand;

use crate::health::Question;

/// What `--version` says after the program's name: its version, and the commit it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SYNSCOPE_COMMIT"), ")");

/// What a service can be asked to do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Action {
    /// Runs until it is told to end: what happens without a word, too.
    Run,
    /// Asks the running service how it is: prints its health as JSON, and fails unless it is ready.
    Health(Question),
}
