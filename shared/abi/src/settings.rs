//! What user space tells the kernel programs, in a one-entry array map.

use crate::timeout::Timeouts;

/// Never change a packet's fate.
pub const MODE_OBSERVE: u32 = 0;
/// A full table may refuse new connections.
pub const MODE_ENFORCE: u32 = 1;

/// In enforce mode: let a connection pass that finds no room in the table.
pub const ON_FULL_PASS: u32 = 0;
/// In enforce mode: drop it.
pub const ON_FULL_DROP: u32 = 1;

/// Slot of the conntrack table in use.
pub const CURRENT: u32 = 0;
/// Slots of tables that are being replaced: their entries move to [`CURRENT`], by their own next packet or by the
/// `retire_v4` and `retire_v6` programs, whichever comes first. Two, so that what one resize found no room for does not
/// stand in the way of the next, which may be the one that makes room. Empty tables stand here the rest of the time.
pub const RETIRING: [u32; 2] = [1, 2];
/// Number of slots.
pub const TABLE_SLOTS: u32 = 3;

/// How many ports can be exempted from [`ON_FULL_DROP`].
pub const EXEMPT_PORTS: usize = 8;

/// Settings of the kernel programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// [`crate::ABI_VERSION`] of who wrote this.
    pub abi_version: u32,
    /// [`MODE_OBSERVE`] or [`MODE_ENFORCE`].
    pub mode: u32,
    /// [`ON_FULL_PASS`] or [`ON_FULL_DROP`]; means nothing in observe mode.
    pub on_full: u32,
    /// A connection in use gives a heartbeat each 2 to the power of this jiffies; 0 for none.
    pub heartbeat_shift: u32,
    /// TCP ports never refused, host byte order, 0 = unused: NATS, the API, SSH.
    pub exempt_ports: [u16; EXEMPT_PORTS],
    /// Time-outs in jiffies.
    pub timeouts: Timeouts,
}

const _: () = assert!(core::mem::size_of::<Settings>() == 80);

/// The kernel's two clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Clocks {
    /// `jiffies64`.
    pub jiffies: u64,
    /// `CLOCK_MONOTONIC` ns.
    pub monotonic_ns: u64,
}
