//! The incidents that can be played, and what is to be found in each.

use std::time::Duration;

use crate::cluster::{OnFull, Tables};

/// What goes wrong while a burst lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A batch job wants so many connections, and begins them within so long.
    Batch(usize, Duration),
    /// SYNs to the server's node are held back by so long, on the wire that no agent watches.
    DelaySyns(Duration),
    /// So many percent of the SYNs are lost on that wire.
    LoseSyns(u64),
    /// A batch job wants so many connections at once, and the server answers later by so long.
    BatchAndSlowServer(usize, Duration),
    /// The server accepts nothing.
    StopAccepting,
    /// The kernel's connection tracking on node b is filled with entries that it must not drop early.
    FillNfConntrack,
}

/// When bursts come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Schedule {
    /// In equal intervals.
    Every(Duration),
    /// In these intervals, again and again.
    Unequal(&'static [Duration]),
}

impl Schedule {
    /// From the burst of this number to the next.
    pub(crate) fn interval(&self, number: usize) -> Duration {
        match self {
            Self::Every(period) => *period,
            Self::Unequal(intervals) => intervals.get(number % intervals.len().max(1)).copied().unwrap_or_default(),
        }
    }
}

/// How the incident is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The fix is applied through the API, and verified by the next bursts.
    Verified,
    /// Something is advised; nothing that synscope could apply.
    Advised,
}

/// What is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The incident's kind: the first cause's name.
    pub(crate) kind: &'static str,
    /// The node that is to blame; none where nothing local is.
    pub(crate) node: Option<&'static str>,
    /// Causes that must be weighed and refuted, with numbers.
    pub(crate) refuted: &'static [&'static str],
    /// The one cause that must be called correlated, and no more.
    pub(crate) correlated: Option<&'static str>,
    /// What must be advised, in part.
    pub(crate) advice: &'static str,
    /// SYNs are lost and sent again, not held back.
    pub(crate) loss: bool,
    /// How it ends.
    pub(crate) end: End,
}

/// One incident to play.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) tables: Tables,
    pub(crate) schedule: Schedule,
    pub(crate) burst: Duration,
    pub(crate) fault: Fault,
    /// A pinned LRU map of Cilium's name on node a, at 97.7 %.
    pub(crate) cilium_map: bool,
    /// None: no incident must be found.
    pub(crate) expected: Option<Expected>,
}

const PERIOD: Schedule = Schedule::Every(Duration::from_secs(20));
/// The article's 10 to 15 minutes, played 30 times as fast.
const WAVES: [Duration; 4] =
    [Duration::from_secs(20), Duration::from_secs(28), Duration::from_secs(23), Duration::from_secs(30)];
/// What a batch job takes to begin all its connections that wants them at once.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(1500);
const SMALL: Tables = Tables { entries: 2048, on_full: OnFull::Drop };
const LARGE: Tables = Tables { entries: 65_536, on_full: OnFull::Drop };

/// The causes that sit on a node.
const LOCAL: &[&str] = &["ct-full", "nf-conntrack-full", "listen-overflow"];

/// The scenario of a name.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

const BASE: Scenario = Scenario {
    name: "ct-full",
    about: "every 20 s a batch job fills node a's connection table, which drops what does not fit",
    tables: SMALL,
    schedule: PERIOD,
    burst: Duration::from_secs(5),
    fault: Fault::Batch(3000, AT_ONCE),
    cilium_map: false,
    expected: Some(Expected {
        kind: "ct-full",
        node: Some("node-a"),
        refuted: &["path-loss", "delay", "nf-conntrack-full", "listen-overflow"],
        correlated: None,
        advice: "bpf.ctTcpMax=",
        loss: true,
        end: End::Verified,
    }),
};

/// Where nothing can be changed.
const ADVISED: Expected =
    Expected { kind: "", node: None, refuted: LOCAL, correlated: None, advice: "", loss: true, end: End::Advised };

/// All of them.
pub(crate) const ALL: [Scenario; 7] = [
    BASE,
    Scenario {
        name: "quiet",
        about: "normal traffic, and batches below every limit",
        tables: LARGE,
        // At once they keep two processors busy for a second: then the network waits for them, and order feels it.
        fault: Fault::Batch(3000, Duration::from_secs(3)),
        expected: None,
        ..BASE
    },
    Scenario {
        name: "ct-full-harmless",
        about: "the table is as full, but what does not fit passes; the server is slow at the same times",
        tables: Tables { on_full: OnFull::Pass, ..SMALL },
        fault: Fault::BatchAndSlowServer(3000, Duration::from_millis(400)),
        expected: Some(Expected {
            kind: "slow-server",
            node: Some("node-b"),
            refuted: &["ct-full", "nf-conntrack-full", "listen-overflow", "path-loss"],
            advice: "cpu.stat",
            loss: false,
            ..ADVISED
        }),
        ..BASE
    },
    Scenario {
        name: "seed",
        about: "the article's case: SYNs come 520 ms late in unequal intervals, while Cilium's map is at 97.7 %",
        tables: LARGE,
        schedule: Schedule::Unequal(&WAVES),
        fault: Fault::DelaySyns(Duration::from_millis(520)),
        cilium_map: true,
        expected: Some(Expected {
            kind: "delay",
            refuted: &["ct-full", "nf-conntrack-full", "listen-overflow", "path-loss", "slow-server"],
            correlated: Some("cilium-ct-full"),
            advice: "tc -s qdisc",
            loss: false,
            ..ADVISED
        }),
        ..BASE
    },
    Scenario {
        name: "nf-conntrack-full",
        about: "the kernel's own connection tracking is full on node b, every 20 s",
        tables: LARGE,
        fault: Fault::FillNfConntrack,
        expected: Some(Expected {
            kind: "nf-conntrack-full",
            node: Some("node-b"),
            refuted: &["path-loss", "delay", "ct-full", "listen-overflow"],
            advice: "net.netfilter.nf_conntrack_max=",
            ..ADVISED
        }),
        ..BASE
    },
    Scenario {
        name: "syn-loss",
        about: "half of the SYNs are lost between the nodes, every 20 s",
        tables: LARGE,
        fault: Fault::LoseSyns(50),
        expected: Some(Expected { kind: "path-loss", advice: "ethtool -S", ..ADVISED }),
        ..BASE
    },
    Scenario {
        name: "listen-overflow",
        about: "the server stops to accept, every 20 s",
        tables: LARGE,
        fault: Fault::StopAccepting,
        expected: Some(Expected {
            kind: "listen-overflow",
            node: Some("node-b"),
            refuted: &["ct-full", "nf-conntrack-full", "path-loss", "delay"],
            advice: "somaxconn",
            ..ADVISED
        }),
        ..BASE
    },
];
