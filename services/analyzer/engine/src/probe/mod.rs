//! Curated probes that are asked for to confirm or exclude a cause: which, when, and what they saw.
//!
//! Nothing is started here: the service does that, and tells what came of it.

mod ask;
mod plan;
mod read;
mod running;
mod seen;

use std::collections::BTreeSet;

pub(crate) use ask::{note, note_outcomes, note_restart, wanted};
use plan::window;
pub use read::What;
pub(crate) use running::Running;
pub use seen::{Counted, Seen};
pub(crate) use seen::{Seens, Watch};

/// A curated probe that causes know to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Packets thrown away, by the kernel's reason and function.
    Drops,
    /// How long the node's own connections take, by remote port.
    ConnectLatency,
}

impl Kind {
    /// The name that tracers know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drops => "drops",
            Self::ConnectLatency => "connect-latency",
        }
    }
}

/// A probe that is asked for, from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The trace that is to run it: one token, and the incident's id is its beginning.
    pub trace: String,
    /// The incident.
    pub incident: String,
    /// The probe.
    pub kind: Kind,
    /// The remote port that it is to look at; all where there is none.
    pub port: Option<u16>,
    /// Where.
    pub nodes: BTreeSet<String>,
    /// When it was asked for, Unix ns.
    pub from_unix_ns: u64,
    /// When it is to end, Unix ns.
    pub until_unix_ns: u64,
    /// What it is to tell, for people.
    pub why: String,
}
