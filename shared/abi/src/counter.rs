//! Counters of the kernel programs: indexes into one per-CPU array, and their names.

macro_rules! counters {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// What is counted; the discriminant is the index into the per-CPU array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[$doc])+ $variant,)+
        }

        impl Counter {
            /// All counters, in index order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name as used in metrics and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

counters! {
    /// Frames that carry neither IPv4 nor IPv6.
    NotIp = "not_ip",
    /// Frame ends before its headers do.
    Truncated = "malformed_truncated",
    /// IPv4 header length below 20 bytes, or version other than 4.
    BadIpv4Header = "malformed_ipv4_header",
    /// IPv6 version other than 6.
    BadIpv6Header = "malformed_ipv6_header",
    /// More IPv6 extension headers than are followed.
    TooManyExtensions = "malformed_ipv6_extensions",
    /// More VLAN tags than are followed.
    TooManyVlanTags = "malformed_vlan_tags",
    /// TCP header length below 20 bytes.
    BadTcpHeader = "malformed_tcp_header",
    /// Fragments after the first: they carry no ports and are not tracked.
    LaterFragment = "later_fragments",
    /// Packets of a connection that another interface of this node owns.
    SeenElsewhere = "seen_elsewhere",
    /// Entries made.
    Inserted = "inserted",
    /// IPv6 entries among [`Counter::Inserted`].
    InsertedV6 = "inserted_v6",
    /// Entries taken out by the sweep.
    Expired = "expired",
    /// IPv6 entries among [`Counter::Expired`].
    ExpiredV6 = "expired_v6",
    /// Inserts refused with E2BIG: a hash table at its capacity.
    InsertFull = "insert_failed_e2big",
    /// Inserts refused with ENOMEM.
    InsertNoMemory = "insert_failed_enomem",
    /// Inserts refused with EBUSY: the bucket lock was held by this very CPU.
    InsertBusy = "insert_failed_ebusy",
    /// Inserts refused with another error.
    InsertOther = "insert_failed_other",
    /// Packets found without an entry because another CPU made it in between.
    InsertRaced = "insert_raced",
    /// Entries that moved to a table put in the place of theirs.
    Moved = "moved",
    /// Attempts to move an entry for which the table in use had no room; a walk ends with its first.
    MoveFailed = "move_failed",
    /// SYNs dropped in enforce mode because the table had no room.
    DroppedFull = "dropped_table_full",
    /// Refused SYNs remembered for a later copy.
    PendingStored = "pending_stored",
    /// Refused SYNs that could not be remembered: these connections are unmeasured.
    PendingFailed = "pending_failed",
    /// Remembered SYNs whose stamps an entry adopted.
    PendingAdopted = "pending_adopted",
    /// Remembered SYNs that never got an entry.
    PendingExpired = "pending_expired",
    /// SYNs of another connection over the five-tuple of one that may be alive: remembered until that is decided.
    SynOverLive = "syn_over_live_connection",
    /// [`Counter::SynOverLive`] that could not be remembered: these connections are unmeasured.
    SynOverLiveFailed = "unmeasured_syn_over_live_connection",
    /// SYN-ACKs to a SYN that is not known here: unmeasured.
    StraySynAck = "unmeasured_stray_syn_ack",
    /// TCP entries made by a packet from the middle of a connection: unmeasured.
    MidStream = "unmeasured_mid_stream",
    /// Packets that found neither an entry nor room for one, and were no SYN: unmeasured.
    Untracked = "untracked",
    /// Event records submitted to the ring.
    EventsSubmitted = "events_submitted",
    /// Event records lost because the ring was full.
    EventsLost = "events_lost",
}

/// Length of the per-CPU array.
pub const COUNTERS: usize = Counter::ALL.len();
