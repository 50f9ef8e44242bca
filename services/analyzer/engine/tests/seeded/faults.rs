//! What may be wrong in a world, what only looks like it, and what becomes of it.

/// What is wrong while a spike lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Node a's table drops SYNs.
    CtFull,
    /// Node b's table drops SYNs.
    CtFullOnServer,
    /// Node b's `nf_conntrack` drops SYNs.
    NfFull,
    /// SYNs are lost between the nodes.
    PathLoss,
    /// The server's accept queue overflows.
    ListenOverflow,
    /// The server answers late.
    SlowServer,
    /// SYNs are held back between the nodes.
    Delay,
    /// Node a's processors are saturated: what comes in waits before the agent sees it.
    Saturated,
    /// Cilium's hash table on node a is full, and its program drops SYNs.
    CiliumFull,
    /// Most are held back, some are lost: neither explains the other.
    Mixed,
    /// Nobody listens: resets answer. Always an outage.
    ClosedPort,
    /// Something between the nodes answers with resets: the server's node sees no SYN. Always an outage.
    Rejected,
    /// SYNs come to the server's node, and nothing answers. Always an outage.
    NoAnswer,
    /// The server's node is down. Always an outage.
    NodeDown,
}

/// What moves at the same times and has nothing to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoy {
    None,
    /// Node a's table is full and refuses, but passes what it refuses.
    TableFullButPasses,
    /// `nf_conntrack` of both nodes makes room by `early_drop`.
    EarlyDrop,
    /// Cilium's LRU table is at 97.7 % all the time.
    CiliumFull,
    /// A third node's table drops SYNs at these very times.
    OtherNodeDrops,
    /// The other end's table drops SYNs of other edges at these very times; node b's where neither end's is the fault.
    OtherEndDrops,
    /// Node a's agent restarts in the middle: its counters begin anew.
    Restart,
    /// Node a's table drops SYNs, but only outside of the spikes.
    DropsElsewhen,
    /// Nothing but TCP is observed on the nodes.
    Blind,
    /// Another namespace of node b tracks connections and drops all the time, and its listeners overflow.
    OtherNamespace,
    /// Other namespaces of node b drop at these very times, each a little: only together as much as was lost.
    ManyNamespaces,
    /// Another namespace of node b drops at these very times, as much as was lost.
    SameTimes,
    /// Node b drops a single packet in each spike: its `nf_conntrack`, and an accept queue of it.
    OneDrop,
    /// Node a's processors are saturated all the time, a third node's at these very times, and node b's a little.
    Busy,
    /// Other edges fail all the time: each port of a scan once, a wrong address in bursts, and one client among many.
    FailingEdges,
}

/// How messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// At once.
    Straight,
    /// Node b has no NATS for 130 s, again and again: then all of it comes.
    Away,
    /// Each up to 130 s late, in any order.
    Shuffled,
    /// At once, and once both nodes' clocks are two days ahead for a bucket.
    OnceAhead,
}

/// What comes after a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The demand comes back, and nobody is hit.
    Demand,
    /// Nobody asks for as much any more.
    Quiet,
    /// The spikes come all the same.
    Spikes,
    /// The demand comes back, and from this cycle on the spikes do too.
    SpikesFrom(u64),
}
