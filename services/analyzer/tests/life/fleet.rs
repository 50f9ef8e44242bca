//! What two agents would send: one edge, and node a's full table that drops its SYNs, or SYNs that are lost elsewhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use synscope_bus::connection::Connection;
use synscope_bus::envelope::PublisherId;
use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::Vantage;
use synscope_bus::message::signal::{Conntrack, NodeSignals, Observed, TcpCounters};
use synscope_bus::outbox::Outbox;
use synscope_bus::subject::{NodeId, Shard, Subject};

pub(crate) const S: u64 = 1_000_000_000;
pub(crate) const TIME_SCALE: u64 = 30;
pub(crate) const BUCKET_NS: u64 = 10 * S / TIME_SCALE;
pub(crate) const TABLE_MAX: u64 = 2048;
const MS: u64 = 1_000_000;
const EDGE: &str = "shop/order->shop/inventory:80";
const NODES: [&str; 2] = ["node-a", "node-b"];

/// What becomes of SYNs.
#[allow(dead_code, reason = "each test uses its part")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Node a's full table drops them.
    Dropped,
    /// They are lost where nothing counts them.
    Lost,
    /// They are not lost, but come late.
    Late,
}

/// What one second is like.
#[derive(Clone, Copy)]
pub(crate) struct Second {
    /// Some of its SYNs fare so.
    pub(crate) hit: Option<Fate>,
    /// Entries of node a's table where nobody is hit; it is full where somebody is.
    pub(crate) live: u64,
    pub(crate) table_max: u64,
}

impl Second {
    /// Every 20 s it is hit for 5 s.
    pub(crate) fn in_spikes(second: u64, fate: Fate) -> Self {
        Self { hit: (second % 20 >= 10 && second % 20 < 15).then_some(fate), ..Self::default() }
    }
}

impl Default for Second {
    fn default() -> Self {
        Self { hit: None, live: 100, table_max: TABLE_MAX }
    }
}

/// Two agents.
pub(crate) struct Fleet {
    begin_unix_ns: u64,
    /// SYNs that node a's table has dropped.
    dropped: AtomicU64,
    edges: [Arc<Outbox>; 2],
    signals: [Arc<Outbox>; 2],
}

impl Fleet {
    pub(crate) fn new(connection: &Connection, begin_unix_ns: u64) -> Self {
        let open = |node: &str, subject: fn(NodeId) -> Subject| {
            let node = NodeId::new(node).unwrap();
            let outbox = Outbox::new(&subject(node.clone()), PublisherId::begin(node), 64 << 20);
            let (sending, connection) = (outbox.clone(), connection.clone());
            tokio::spawn(async move { sending.send(&connection).await });
            outbox
        };
        Self {
            begin_unix_ns,
            dropped: AtomicU64::new(0),
            edges: NODES.map(|node| open(node, |node| Subject::Edge(Shard::of_edge(EDGE), node))),
            signals: NODES.map(|node| open(node, Subject::Signal)),
        }
    }

    /// Sends what happened in these seconds; returns when the server has it.
    pub(crate) async fn play(&self, seconds: Range<u64>, second: impl Fn(u64) -> Second) {
        let (from, to) = (seconds.start * S / BUCKET_NS, seconds.end * S / BUCKET_NS);
        for bucket in from..to {
            let start_unix_ns = self.begin_unix_ns + bucket * BUCKET_NS;
            let now = second(bucket * BUCKET_NS / S);
            for (outbox, vantage) in self.edges.iter().zip([Vantage::Client, Vantage::Server]) {
                let bucket = handshakes(vantage, start_unix_ns, now.hit.filter(|_| vantage == Vantage::Client));
                let node = if vantage == Vantage::Client { NODES[0] } else { NODES[1] };
                outbox.put(&EdgeBatch { node: node.into(), slow_above_ns: 100 * MS, buckets: vec![bucket] }).unwrap();
            }
        }
        for at in seconds {
            let now = second(at);
            let more = 10 * u64::from(now.hit == Some(Fate::Dropped));
            let dropped = self.dropped.fetch_add(more, Ordering::Relaxed) + more;
            for (outbox, node) in self.signals.iter().zip(NODES) {
                let (now, dropped) = if node == NODES[0] { (now, dropped) } else { (Second::default(), 0) };
                outbox.put(&signals(node, self.begin_unix_ns + at * S + S / 2, now, dropped)).unwrap();
            }
        }
        while self.edges.iter().chain(&self.signals).any(|outbox| outbox.counts().waiting > 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn handshakes(vantage: Vantage, start_unix_ns: u64, hit: Option<Fate>) -> EdgeBucket {
    let mut bucket =
        EdgeBucket { edge: EDGE.into(), vantage, start_unix_ns, length_ns: BUCKET_NS, n: 8, ..EdgeBucket::default() };
    // One that was sent again comes a second later.
    let slow_ns = if hit == Some(Fate::Late) { 520 * MS } else { S + MS };
    for connection in 0..8 {
        let slow = hit.is_some() && connection < 3;
        bucket.latency_ns.record(if slow { slow_ns } else { MS });
        bucket.slow += u64::from(slow);
    }
    let retries = if matches!(hit, Some(Fate::Dropped | Fate::Lost)) { 3 } else { 0 };
    let dropped = if hit == Some(Fate::Dropped) { retries } else { 0 };
    EdgeBucket { retries, refused: dropped, dropped, ..bucket }
}

fn signals(node: &str, time_unix_ns: u64, second: Second, dropped_syns: u64) -> NodeSignals {
    let live = if second.hit == Some(Fate::Dropped) { second.table_max } else { second.live };
    let table = Conntrack {
        live,
        max: second.table_max,
        insert_failures: BTreeMap::from([("E2BIG".to_owned(), dropped_syns)]),
        refused_syns: dropped_syns,
        dropped_syns,
        ..Conntrack::default()
    };
    NodeSignals {
        node: node.into(),
        time_unix_ns,
        conntrack: Observed::Observed { value: table },
        nf_conntrack: Observed::Observed { value: Vec::new() },
        tcp: Observed::Observed { value: vec![TcpCounters { netns: 1, counters: BTreeMap::new() }] },
        ..NodeSignals::default()
    }
}
