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

/// What one second is like.
#[derive(Clone, Copy)]
pub(crate) struct Second {
    pub(crate) is_hit: bool,
    /// Where it is hit, its SYNs are lost where nothing counts them.
    pub(crate) is_lost: bool,
    /// Entries of node a's table where nobody is hit; it is full where somebody is.
    pub(crate) live: u64,
    pub(crate) table_max: u64,
}

impl Default for Second {
    fn default() -> Self {
        Self { is_hit: false, is_lost: false, live: 100, table_max: TABLE_MAX }
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
                let bucket = handshakes(vantage, start_unix_ns, now, now.is_hit && vantage == Vantage::Client);
                let node = if vantage == Vantage::Client { NODES[0] } else { NODES[1] };
                outbox.put(&EdgeBatch { node: node.into(), slow_above_ns: 100 * MS, buckets: vec![bucket] }).unwrap();
            }
        }
        for at in seconds {
            let now = second(at);
            let more = 10 * u64::from(now.is_hit && !now.is_lost);
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

fn handshakes(vantage: Vantage, start_unix_ns: u64, now: Second, is_hit: bool) -> EdgeBucket {
    let mut bucket =
        EdgeBucket { edge: EDGE.into(), vantage, start_unix_ns, length_ns: BUCKET_NS, n: 8, ..EdgeBucket::default() };
    for connection in 0..8 {
        let slow = is_hit && connection < 3;
        bucket.latency_ns.record(if slow { S + MS } else { MS });
        bucket.slow += u64::from(slow);
    }
    let retries = if is_hit { 3 } else { 0 };
    let dropped = if now.is_lost { 0 } else { retries };
    EdgeBucket { retries, refused: dropped, dropped, ..bucket }
}

fn signals(node: &str, time_unix_ns: u64, second: Second, dropped_syns: u64) -> NodeSignals {
    let live = if second.is_hit && !second.is_lost { second.table_max } else { second.live };
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
