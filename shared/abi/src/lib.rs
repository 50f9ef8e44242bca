//! What kernel programs and user space share: map keys and values, event records, limits, and the decisions
//! (parsing, the TCP state machine, time-outs, verdicts) that both sides must make alike.
//!
//! Everything here is `no_std` and free of kernel calls and clocks, so that kernel programs and ordinary host tests
//! run the very same code. Types that cross the boundary are `repr(C)`, hold integers only, and have no padding:
//! their layout is asserted at compile time.

#![cfg_attr(not(test), no_std)]
#![deny(missing_docs)]
#![deny(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "BPF programs are verified whole: a call costs a frame of the 512-byte stack and loses what the verifier knew"
)]

pub mod batch;
pub mod conntrack;
pub mod counter;
pub mod drops;
pub mod event;
pub mod flow;
mod numbered;
pub mod packet;
#[cfg(feature = "user")]
mod pod;
pub mod settings;
pub mod sighting;
pub mod tcp;
pub mod timeout;
pub mod verdict;

/// Version of everything in this crate that pinned maps hold. Raised with each change of a layout or of a meaning, so
/// that a newer service recognises pins it must not adopt.
pub const ABI_VERSION: u32 = 3;

/// Most entries a conntrack table can be given: the limit Cilium uses as well (`1 << 24`).
pub const CONNTRACK_ENTRIES_MAX: u32 = 1 << 24;

/// Capacity of a conntrack table until desired state says otherwise; Cilium's default for TCP.
pub const CONNTRACK_ENTRIES_DEFAULT: u32 = 524_288;

/// `BPF_F_NO_PREALLOC`: how tables are made, so that they take memory for what is in them.
pub const NO_PREALLOC: u32 = 1;

/// Capacity of the table of SYNs that were given no entry: 1,000 new ones a second for as long as they are remembered.
/// A hash, which refuses what it has no room for: an LRU would forget others without a word.
pub const PENDING_ENTRIES: usize = 65_536;

/// Size of the event ring in bytes: room for 123,361 records of 128 bytes with the kernel's header of 8, which is 123 ms at
/// a million events a second.
pub const EVENT_RING_BYTES: usize = 16 << 20;
