//! What can go wrong with the kernel programs.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use synscope_abi::CONNTRACK_ENTRIES_MAX;

use crate::pins::PinError;

/// What can go wrong with the kernel programs.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The object could not be loaded.
    #[error("loading the kernel programs failed")]
    Load(#[from] EbpfError),
    /// A program was refused or could not be run.
    #[error("kernel program {name}")]
    Program {
        /// Name of the program.
        name: &'static str,
        /// What the kernel said.
        source: ProgramError,
    },
    /// A map could not be read or written.
    #[error("map {name}")]
    Map {
        /// Name of the map.
        name: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A table could not be read as a whole.
    #[error("reading {name}")]
    Read {
        /// Name of the map.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object lacks a program or map of this name.
    #[error("the kernel object has no {0}: it was built from other sources")]
    Missing(&'static str),
    /// A run of a program ended with an error of its own.
    #[error("kernel program {name} answered errno {errno}")]
    Answer {
        /// Name of the program.
        name: &'static str,
        /// Positive errno.
        errno: i32,
    },
    /// The kernel's jiffy has none of the lengths it can be built with.
    #[error("cannot tell how long a jiffy is: {0:.1} per second measured")]
    Jiffy(f64),
    /// A capacity no table can have.
    #[error("{name} cannot have {entries} entries: 1 to {CONNTRACK_ENTRIES_MAX} are possible")]
    Capacity {
        /// Name of the map.
        name: &'static str,
        /// Entries asked for.
        entries: u32,
    },
    /// A capacity that the memory does not allow.
    #[error(
        "{name} with {entries} entries does not fit: it takes {needed_mib} MiB more when full, and the machine or the \
         service's cgroup has {left_mib} MiB left: ask for fewer, or raise the limit"
    )]
    Memory {
        /// Name of the map.
        name: &'static str,
        /// Entries asked for.
        entries: u32,
        /// What it takes more when full, MiB.
        needed_mib: u64,
        /// What there is, MiB.
        left_mib: u64,
    },
    /// A new capacity below what the table holds.
    #[error("{name} holds {live} entries, so it cannot be resized to {entries}")]
    TooSmall {
        /// Name of the map.
        name: &'static str,
        /// Entries asked for.
        entries: u32,
        /// Entries in the table.
        live: usize,
    },
    /// Earlier resizes left entries for which the table in use still has no room.
    #[error(
        "{name} cannot be resized: {left} entries of the two last resizes have not found room yet; sweeps go on moving them"
    )]
    Unfinished {
        /// Name of the map.
        name: &'static str,
        /// Entries in the retiring tables.
        left: usize,
    },
    /// Pinned state cannot be adopted.
    #[error(transparent)]
    Pin(#[from] PinError),
}
