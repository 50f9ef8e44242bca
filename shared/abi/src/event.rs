//! Records in the event ring: something happened to a connection.

use core::mem::{offset_of, size_of};

use crate::numbered::numbered;

numbered! {
    /// What happened.
    EventKind {
        /// A connection got its entry.
        Opened = 1 "opened",
        /// The handshake is complete; the stamps say how long each part took.
        Established = 2 "established",
        /// Both sides sent their FIN.
        Closed = 3 "closed",
        /// A reset was seen.
        Reset = 4 "reset",
        /// Policy said no.
        Denied = 5 "denied",
        /// We dropped the packet for another reason than policy.
        Dropped = 6 "dropped",
        /// A SYN or SYN-ACK came again.
        Retried = 7 "retried",
        /// A long connection is still alive.
        Heartbeat = 8 "heartbeat",
        /// The entry was forgotten after silence.
        Expired = 9 "expired",
        /// A refused SYN never got in.
        PendingExpired = 10 "pending_expired",
        /// Only one direction of the connection passes here.
        HalfSeen = 11 "half_seen",
        /// A SYN found no room in the table and passed all the same.
        Refused = 12 "refused",
        /// The client gave this attempt, or this connection, up without ending it and began another from the same port.
        Abandoned = 13 "abandoned",
    }
}

numbered! {
    /// Why; numbers and names of drop reasons are Cilium's (flow.proto, `DropReason`), less 100 to fit a byte.
    Reason {
        /// Nothing to explain.
        None = 0 "",
        /// Policy denied.
        PolicyDenied = 33 "POLICY_DENIED",
        /// The conntrack table refused the entry.
        CtMapInsertionFailed = 55 "CT_MAP_INSERTION_FAILED",
    }
}

numbered! {
    /// What became of the packet, as Hubble names it.
    Verdict {
        /// It went on.
        Forwarded = 1 "FORWARDED",
        /// We dropped it.
        Dropped = 2 "DROPPED",
    }
}

/// One record of the event ring; numbers are checked by [`EventKind::from_number`] and its siblings when read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When, `CLOCK_MONOTONIC` ns.
    pub at_ns: u64,
    /// First SYN, `CLOCK_MONOTONIC` ns, refused ones included; 0 = never seen.
    pub syn_ns: u64,
    /// First SYN-ACK; 0 = not seen.
    pub syn_ack_ns: u64,
    /// The handshake's last ACK; 0 = not seen.
    pub established_ns: u64,
    /// Packets from the client and from the server.
    pub packets: [u64; 2],
    /// Bytes from the client and from the server.
    pub bytes: [u64; 2],
    /// Client address; IPv4 in the first four bytes.
    pub client: [u8; 16],
    /// Server address; IPv4 in the first four bytes.
    pub server: [u8; 16],
    /// Client port, network byte order.
    pub client_port: [u8; 2],
    /// Server port, network byte order.
    pub server_port: [u8; 2],
    /// Interface that owns the entry.
    pub ifindex: u32,
    /// Initial sequence number of the SYN, host byte order.
    pub initial_sequence: u32,
    /// SYNs refused before one was accepted.
    pub refused_syns: u32,
    /// [`EventKind`].
    pub kind: u8,
    /// [`Verdict`].
    pub verdict: u8,
    /// [`Reason`].
    pub reason: u8,
    /// [`crate::tcp::State`].
    pub state: u8,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// 0 when the opening packet came in through the interface, 1 when it went out.
    pub hook: u8,
    /// Copies of the SYN after the first.
    pub syn_retries: u8,
    /// Copies of the SYN-ACK after the first.
    pub syn_ack_retries: u8,
    /// TCP flags seen from the client and from the server.
    pub tcp_flags: [u8; 2],
    /// Always zero.
    pub reserved: [u8; 5],
}

const _: () = {
    assert!(size_of::<Event>() == 128);
    assert!(offset_of!(Event, client) == 64 && offset_of!(Event, server) == 80);
    assert!(offset_of!(Event, ifindex) == 100);
    assert!(offset_of!(Event, kind) == 112);
};
