//! What the program that counts dropped packets shares with user space.

use core::mem::size_of;

/// Keys that are counted at most.
pub const DROP_KEYS: usize = 4096;

/// What a dropped packet is counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct DropKey {
    /// The kernel's number of the reason (`enum skb_drop_reason`); it differs between kernels.
    pub reason: u32,
    /// Inode of the network namespace; 0 when the packet had neither a device nor a socket.
    pub netns: u32,
    /// Interface; 0 when the packet had none.
    pub ifindex: u32,
}

/// Offsets in bytes, as the running kernel's BTF has them: Rust programs have no CO-RE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropOffsets {
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `sk_buff.sk`
    pub skb_sk: u32,
    /// `net_device.ifindex`
    pub dev_ifindex: u32,
    /// `net_device.nd_net.net`
    pub dev_net: u32,
    /// `sock.__sk_common.skc_net.net`
    pub sk_net: u32,
    /// `net.ns.inum`
    pub net_inode: u32,
}

const _: () = assert!(size_of::<DropKey>() == 12 && size_of::<DropOffsets>() == 24);
