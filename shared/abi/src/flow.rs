//! Keys and values of the conntrack tables.
//!
//! One entry holds both directions of a connection. Its key names the two endpoints in a canonical order ([`Endpoint`]
//! `A` is the smaller by address, then port), so that a packet of either direction finds it with one lookup.

use core::mem::{align_of, offset_of, size_of};

/// Which of the two endpoints of a key a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Endpoint {
    /// The endpoint with the smaller address (then port), in network byte order.
    A = 0,
    /// The other one.
    B = 1,
}

/// Direction of a packet relative to the side that opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Sent by the side that opened the connection (the client).
    Original = 0,
    /// Sent by the other side (the server).
    Reply = 1,
}

/// Key of a flow; `N` is the length of an address in bytes (4 or 16).
///
/// Addresses and ports are in network byte order. ICMP echo uses its identifier as both ports. Aligned to words, so
/// that kernel programs build, compare and copy it by words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C, align(4))]
pub struct FlowKey<const N: usize> {
    /// Address of endpoint A.
    pub address_a: [u8; N],
    /// Address of endpoint B.
    pub address_b: [u8; N],
    /// Port of endpoint A, network byte order.
    pub port_a: [u8; 2],
    /// Port of endpoint B, network byte order.
    pub port_b: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub reserved: [u8; 3],
}

/// Key of an IPv4 flow: 16 bytes.
pub type FlowKeyV4 = FlowKey<4>;
/// Key of an IPv6 flow: 40 bytes.
pub type FlowKeyV6 = FlowKey<16>;

impl<const N: usize> FlowKey<N> {
    /// The key of the flow that a packet from `source` to `destination` belongs to, and which endpoint sent it.
    #[inline(always)]
    #[must_use]
    pub fn canonical(
        source: [u8; N],
        destination: [u8; N],
        source_port: [u8; 2],
        destination_port: [u8; 2],
        protocol: u8,
    ) -> (Self, Endpoint) {
        let forward = match compare(&source, &destination) {
            0 => u16::from_be_bytes(source_port) <= u16::from_be_bytes(destination_port),
            order => order < 0,
        };
        let reserved = [0; 3];
        if forward {
            let key = Self {
                address_a: source,
                address_b: destination,
                port_a: source_port,
                port_b: destination_port,
                protocol,
                reserved,
            };
            (key, Endpoint::A)
        } else {
            let key = Self {
                address_a: destination,
                address_b: source,
                port_a: destination_port,
                port_b: source_port,
                protocol,
                reserved,
            };
            (key, Endpoint::B)
        }
    }
}

/// Compares as big-endian numbers, four bytes at a time: a byte-wise `cmp` becomes a `memcmp` call, which BPF lacks.
#[inline(always)]
fn compare<const N: usize>(left: &[u8; N], right: &[u8; N]) -> i32 {
    let mut at = 0;
    while at + 4 <= N {
        let l = u32::from_be_bytes([left[at], left[at + 1], left[at + 2], left[at + 3]]);
        let r = u32::from_be_bytes([right[at], right[at + 1], right[at + 2], right[at + 3]]);
        if l != r {
            return if l < r { -1 } else { 1 };
        }
        at += 4;
    }
    0
}

/// Value of a conntrack entry. What the established path touches comes first and fits one 64-byte cache line; stamps
/// of the handshake follow.
///
/// The two directions of a connection may run on two CPUs at once, so each direction has counters of its own. They are
/// plain: where a device spreads one direction of one connection over CPUs, they are lower bounds. The other fields are
/// written by handshake and teardown packets, which TCP itself puts in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// When the last packet was seen, in jiffies of the kernel's `jiffies64`.
    pub last_seen_jiffies: u64,
    /// Packets per [`Direction`]; a large receive or send counts as its segments.
    pub packets: [u64; 2],
    /// Bytes per [`Direction`] as the device sees them, headers included.
    pub bytes: [u64; 2],
    /// Interface that owns this entry: the first one that saw the connection.
    pub ifindex: u32,
    /// [`crate::tcp::State`] as a number.
    pub state: u8,
    /// [`Endpoint`] that opened the connection.
    pub origin: u8,
    /// Union of TCP flags seen, per [`Direction`].
    pub tcp_flags: [u8; 2],
    /// 0 when the opening packet came in through the interface, 1 when it went out.
    pub hook: u8,
    /// Copies of the SYN after the first, refused ones included; stays at 255.
    pub syn_retries: u8,
    /// Copies of the SYN-ACK after the first; stays at 255.
    pub syn_ack_retries: u8,
    /// Always zero.
    pub reserved: [u8; 5],
    /// Initial sequence number of the SYN, host byte order; 0 for anything but TCP opened by a SYN.
    pub initial_sequence: u32,
    /// SYNs of this connection that were given no entry before one was.
    pub refused_syns: u32,
    /// First SYN, `CLOCK_MONOTONIC` ns; 0 when it was never seen.
    pub syn_ns: u64,
    /// First SYN-ACK, `CLOCK_MONOTONIC` ns; 0 until then.
    pub syn_ack_ns: u64,
    /// ACK that ended the handshake, `CLOCK_MONOTONIC` ns; 0 until then.
    pub established_ns: u64,
}

/// Key of a SYN that was given no entry: the same SYN sent again has the same sequence number, a new attempt has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PendingKey<const N: usize> {
    /// The connection.
    pub flow: FlowKey<N>,
    /// Initial sequence number of the SYN, host byte order.
    pub initial_sequence: u32,
}

/// What is remembered of a SYN that was given no entry until a later copy, or its answer, gets one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pending {
    /// First copy, `CLOCK_MONOTONIC` ns.
    pub first_ns: u64,
    /// Latest copy, in jiffies of the kernel's `jiffies64`.
    pub last_seen_jiffies: u64,
    /// Copies so far.
    pub refused: u32,
    /// Interface that saw the first copy; copies seen elsewhere are the same packet once more, not a retry.
    pub ifindex: u32,
    /// 0 when it came in through that interface, 1 when it went out.
    pub hook: u8,
    /// [`Endpoint`] that sent it.
    pub origin: u8,
    /// [`crate::event::Verdict`] of the latest copy.
    pub verdict: u8,
    /// [`crate::event::Reason`] why the latest copy was given no entry.
    pub reason: u8,
    /// Always zero.
    pub reserved: [u8; 4],
}

const _: () = {
    assert!(size_of::<FlowKeyV4>() == 16 && align_of::<FlowKeyV4>() == 4);
    assert!(size_of::<FlowKeyV6>() == 40 && offset_of!(FlowKeyV6, address_b) == 16);
    assert!(size_of::<Flow>() == 88 && align_of::<Flow>() == 8);
    assert!(offset_of!(Flow, ifindex) == 40);
    assert!(offset_of!(Flow, initial_sequence) == 56);
    assert!(offset_of!(Flow, syn_ns) == 64);
    assert!(size_of::<PendingKey<4>>() == 20 && size_of::<PendingKey<16>>() == 44);
    assert!(size_of::<Pending>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_directions_meet_in_one_key(a: [u8; 4], b: [u8; 4], pa: [u8; 2], pb: [u8; 2]) {
            let (there, from_there) = FlowKey::canonical(a, b, pa, pb, 6);
            let (back, from_back) = FlowKey::canonical(b, a, pb, pa, 6);
            prop_assert_eq!(there, back);
            prop_assert!(from_there != from_back || (a, pa) == (b, pb));
            prop_assert!((there.address_a, there.port_a) <= (there.address_b, there.port_b));
        }

        #[test]
        fn ipv6_order_is_numeric(a: [u8; 16], b: [u8; 16]) {
            let order = compare(&a, &b);
            prop_assert_eq!(order.cmp(&0), a.cmp(&b));
        }
    }
}
