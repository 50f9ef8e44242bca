//! Streams as two agents would send them, from a seed: one edge, one fault, and decoys beside it.

use std::collections::BTreeMap;

use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::Vantage;
use synscope_bus::message::incident::Incident;
use synscope_bus::message::signal::{
    Conntrack, Drops, MapFill, NfConntrack, NodeSignals, Observed, Pressure, TcpCounters,
};
use synscope_engine::engine::Engine;
use synscope_engine::probe::Request;
use synscope_engine::random::Random;
use synscope_engine::scale::Scale;

pub(crate) use crate::faults::{After, Decoy, Fault, Way};
use crate::tracing::{Tracers, Tracing};

pub(crate) const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const BUCKET_S: u64 = 10;
const START_S: u64 = 1_700_000_000;
pub(crate) const EDGE: &str = "shop/order->shop/inventory:80";

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) fault: Fault,
    pub(crate) decoy: Decoy,
    pub(crate) spikes: u64,
    /// How much later than usual everything begins.
    pub(crate) begin_s: u64,
    /// Connections in a bucket at least; there are up to two thirds more.
    pub(crate) connections: u64,
    pub(crate) period_s: u64,
    pub(crate) spike_s: u64,
    /// All connections are hit, and none comes to be.
    pub(crate) outage: bool,
    /// Clients give up before they send a SYN again.
    pub(crate) impatient: bool,
    /// How messages come.
    pub(crate) way: Way,
    /// How far node b's clock is ahead.
    pub(crate) ahead_s: u64,
    /// The table grows after so many spikes, and then …
    pub(crate) fixed: Option<(u64, After)>,
    /// What the nodes' tracers do.
    pub(crate) tracing: Tracing,
}

/// Second of a run in whose bucket the clocks are ahead.
const AHEAD_ONCE_S: u64 = 120;

/// Seconds after which nothing more is expected of a handshake: its SYNs, and the agent's time-out.
const GIVEN_UP_S: u64 = 140;

/// Counters of one node, as they grow.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    table_failed: u64,
    table_refused: u64,
    table_dropped: u64,
    nf_drop: u64,
    nf_early: u64,
    overflows: u64,
    elsewhere: u64,
    program_drops: u64,
    waits_ns: u64,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Fault, decoy: Decoy) -> Self {
        Self {
            seed,
            fault,
            decoy,
            spikes: 8,
            begin_s: 0,
            connections: 30,
            period_s: 600,
            spike_s: 150,
            outage: false,
            impatient: false,
            way: Way::Straight,
            ahead_s: 0,
            fixed: None,
            tracing: Tracing::Off,
        }
    }

    /// Whether nothing that is told tells the decoy from the fault: an edge does not say which namespace of its node it
    /// ends in, so two that drop what comes there, at the same times and as much, are alike.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.decoy == Decoy::SameTimes && matches!(self.fault, Fault::ListenOverflow | Fault::NoAnswer)
    }

    /// Whose table drops other edges' SYNs.
    fn other_end(&self) -> &'static str {
        if self.fault == Fault::CtFullOnServer { "node-a" } else { "node-b" }
    }

    /// One outage of five minutes.
    pub(crate) fn outage(seed: u64, fault: Fault, decoy: Decoy) -> Self {
        Self { spikes: 1, period_s: 1200, spike_s: 300, outage: true, ..Self::new(seed, fault, decoy) }
    }

    /// Plays it through an engine; all states in which incidents were told.
    pub(crate) fn play(&self) -> Vec<Incident> {
        self.play_after([])
    }

    /// The same, beginning with these incidents.
    pub(crate) fn play_after(&self, known: impl IntoIterator<Item = Incident>) -> Vec<Incident> {
        self.play_all(known).0
    }

    /// Plays it with the tracers; also the probes that were asked for.
    pub(crate) fn play_traced(&self) -> (Vec<Incident>, Vec<Request>) {
        self.play_all([])
    }

    fn play_all(&self, known: impl IntoIterator<Item = Incident>) -> (Vec<Incident>, Vec<Request>) {
        let mut engine = Engine::new(Scale::new(1.0));
        let mut tracers = Tracers::new(self.tracing, &mut engine);
        engine.restore(known);
        let mut random = Random(self.seed.wrapping_mul(0x1234_5678_9abc_def1) + 1);
        let mut counters: BTreeMap<&str, Counters> =
            ["node-a", "node-b", "node-c"].map(|node| (node, Counters::default())).into();
        let mut told = Vec::new();
        let mut edges: BTreeMap<u64, Vec<EdgeBatch>> = BTreeMap::new();
        let mut signals: BTreeMap<u64, Vec<NodeSignals>> = BTreeMap::new();
        let length_s = self.period_s * (self.spikes + 1);
        for second in 0..length_s {
            let now = (START_S + self.begin_s + second) * S;
            let demanding = self.is_spiking(second);
            let spiking = demanding && self.is_hit(second);
            if second % BUCKET_S == 0 {
                let now_and_late = if self.outage && spiking {
                    self.failing(now, &mut random)
                } else {
                    (self.buckets(now, spiking, &mut random), Vec::new())
                };
                let given_up = now_and_late.1.into_iter().map(|batch| (second + GIVEN_UP_S, batch));
                let mut batches: Vec<_> =
                    now_and_late.0.into_iter().map(|batch| (second, batch)).chain(given_up).collect();
                if self.decoy == Decoy::FailingEdges {
                    batches.push((second, failing_edges(second, now, &mut random)));
                }
                for (sent, mut batch) in batches {
                    let ahead_ns = self.ahead_ns(&batch.node, second);
                    batch.buckets.iter_mut().for_each(|bucket| bucket.start_unix_ns += ahead_ns);
                    edges.entry(self.comes(sent, &batch.node, &mut random)).or_default().push(batch);
                }
            }
            for batch in edges.remove(&second).into_iter().flatten() {
                engine.edges(&batch);
            }
            if self.decoy == Decoy::Restart && second == length_s / 2 {
                counters.insert("node-a", Counters::default());
            }
            let was_spiking = |ago_s: u64| self.is_spiking(second.saturating_sub(ago_s));
            if self.decoy == Decoy::OneDrop && was_spiking(29) && !was_spiking(30) {
                let counters = counters.entry("node-b").or_default();
                counters.nf_drop += 1;
                counters.overflows += 1;
            }
            for (node, counters) in &mut counters {
                self.count(node, counters, spiking, &mut random);
                if !(self.fault == Fault::NodeDown && spiking && *node == "node-b") {
                    let mut reading = self.signals(node, *counters, second, demanding);
                    reading.time_unix_ns += self.ahead_ns(node, second);
                    signals.entry(self.comes(second, node, &mut random)).or_default().push(reading);
                }
            }
            for reading in signals.remove(&second).into_iter().flatten() {
                engine.signals(&reading, now);
            }
            tracers.second(&mut engine, now, spiking);
            if second % BUCKET_S == 0 {
                told.extend(engine.tick(now));
                tracers.start(&mut engine);
            }
        }
        (told, tracers.asked)
    }

    /// Jitter of a few seconds, the same for all that looks at one cycle.
    fn is_spiking(&self, second: u64) -> bool {
        let cycle = (second / self.period_s).min(self.spikes - 1);
        let jitter = Random(self.seed ^ cycle).draw() % 5;
        let begin = cycle * self.period_s + self.period_s / 2 + jitter;
        (begin..begin + self.spike_s).contains(&second)
    }

    /// How far a node's clock is ahead.
    fn ahead_ns(&self, node: &str, second: u64) -> u64 {
        let is_once = self.way == Way::OnceAhead && (AHEAD_ONCE_S..AHEAD_ONCE_S + BUCKET_S).contains(&second);
        let once_s = if is_once { 2 * 86_400 } else { 0 };
        (once_s + if node == "node-b" { self.ahead_s } else { 0 }) * S
    }

    /// When a message comes that was sent in this second.
    fn comes(&self, second: u64, node: &str, random: &mut Random) -> u64 {
        match self.way {
            Way::Away if node == "node-b" && second % 500 < 130 => second - second % 500 + 130,
            Way::Straight | Way::OnceAhead | Way::Away => second,
            Way::Shuffled => second + random.draw() % 130,
        }
    }

    /// What is done against it, by then.
    fn after(&self, second: u64) -> Option<After> {
        let (_, after) = self.fixed.filter(|(spikes, _)| second >= spikes * self.period_s)?;
        Some(after)
    }

    fn is_hit(&self, second: u64) -> bool {
        match self.after(second) {
            None | Some(After::Spikes) => true,
            Some(After::Demand | After::Quiet) => false,
            Some(After::SpikesFrom(cycle)) => second / self.period_s >= cycle,
        }
    }

    fn buckets(&self, now: u64, spiking: bool, random: &mut Random) -> Vec<EdgeBatch> {
        let (mut client, mut server) = (empty(EDGE, Vantage::Client, now), empty(EDGE, Vantage::Server, now));
        for _connection in 0..self.connections + random.draw() % (self.connections * 2 / 3) {
            let normal = MS / 2 + random.draw() % MS;
            // About a third of the connections is hit.
            let hit = spiking && random.draw().is_multiple_of(3);
            let step = [1, 1, 1, 3, 3, 7][usize::try_from(random.draw() % 6).unwrap()];
            let retries = match step {
                1 => 1,
                3 => 2,
                _ => 3,
            };
            let (at_client, at_server) = match self.fault {
                _ if !hit => (normal, normal / 2),
                Fault::None => (normal, normal / 2),
                Fault::CtFull | Fault::CiliumFull | Fault::PathLoss | Fault::NfFull => (step * S + normal, normal / 2),
                // The server's node has known the SYN since it came first.
                Fault::ListenOverflow | Fault::CtFullOnServer => (step * S + normal, step * S + normal / 2),
                Fault::SlowServer => (300 * MS + normal, 300 * MS + normal / 2),
                Fault::Delay => (520 * MS + normal, normal / 2),
                Fault::Saturated => (80 * MS + normal, normal / 2),
                Fault::Mixed if step == 7 => (S + normal, normal / 2),
                Fault::Mixed => (400 * MS + normal, normal / 2),
                Fault::ClosedPort | Fault::Rejected | Fault::NoAnswer | Fault::NodeDown => {
                    unreachable!("these are outages")
                }
            };
            client.n += 1;
            client.latency_ns.record(at_client);
            client.slow += u64::from(at_client > 100 * MS);
            server.n += 1;
            server.latency_ns.record(at_server);
            server.slow += u64::from(at_server > 100 * MS);
            let lost =
                !matches!(self.fault, Fault::None | Fault::SlowServer | Fault::Delay | Fault::Saturated | Fault::Mixed);
            if hit && self.fault == Fault::Mixed && step == 7 {
                client.retries += 1;
            }
            if hit && lost {
                client.retries += retries;
                let full = match self.fault {
                    Fault::CtFull => Some(&mut client),
                    Fault::CtFullOnServer => Some(&mut server),
                    _ => None,
                };
                if let Some(full) = full {
                    full.refused += retries;
                    full.dropped += retries;
                }
                if matches!(self.fault, Fault::ListenOverflow | Fault::NfFull | Fault::CtFullOnServer) {
                    server.retries += retries;
                }
            }
            if spiking && self.decoy == Decoy::TableFullButPasses && random.draw().is_multiple_of(4) {
                client.refused += 1;
            }
        }
        vec![batch("node-a", vec![client]), batch("node-b", vec![server])]
    }

    /// A bucket in which no connection comes to be: what is known at once, and when they are given up.
    fn failing(&self, now: u64, random: &mut Random) -> (Vec<EdgeBatch>, Vec<EdgeBatch>) {
        let failed = 30 + random.draw() % 20;
        let again = if self.impatient { 0 } else { failed * 6 };
        let bucket = |vantage, failed, reset, retries| EdgeBucket {
            unmeasured: failed,
            failed,
            reset,
            retries,
            ..empty(EDGE, vantage, now)
        };
        let client = |reset, retries| batch("node-a", vec![bucket(Vantage::Client, failed, reset, retries)]);
        let server = |reset, retries| batch("node-b", vec![bucket(Vantage::Server, failed, reset, retries)]);
        match self.fault {
            Fault::Rejected => (vec![client(failed, 0)], Vec::new()),
            Fault::ClosedPort => (vec![client(failed, 0), server(failed, 0)], Vec::new()),
            Fault::CtFull | Fault::CtFullOnServer => {
                let dropping = |vantage| {
                    let (dropped, refused) = (failed + again, failed + again);
                    EdgeBucket { dropped, refused, ..empty(EDGE, vantage, now) }
                };
                if self.fault == Fault::CtFull {
                    (vec![batch("node-a", vec![dropping(Vantage::Client)])], vec![client(0, again)])
                } else {
                    let late = vec![client(0, again), server(0, again)];
                    (vec![batch("node-b", vec![dropping(Vantage::Server)])], late)
                }
            }
            Fault::NfFull | Fault::ListenOverflow | Fault::NoAnswer => {
                (Vec::new(), vec![client(0, again), server(0, again)])
            }
            _ => (Vec::new(), vec![client(0, again)]),
        }
    }

    fn count(&self, node: &str, counters: &mut Counters, spiking: bool, random: &mut Random) {
        let some = if self.outage { 40 } else { 3 } + random.draw() % 5;
        match (self.fault, node) {
            (Fault::CtFull, "node-a") | (Fault::CtFullOnServer, "node-b") if spiking => drop_syns(counters, some),
            (Fault::CiliumFull, "node-a") if spiking => counters.program_drops += some,
            (Fault::NfFull, "node-b") if spiking => counters.nf_drop += some,
            (Fault::ListenOverflow, "node-b") if spiking => counters.overflows += some,
            (Fault::Saturated, "node-a") if spiking => counters.waits_ns += 400 * MS,
            _ => {}
        }
        match (self.decoy, node) {
            (Decoy::TableFullButPasses, "node-a") if spiking => {
                counters.table_failed += some;
                counters.table_refused += some;
            }
            (Decoy::EarlyDrop, _) if spiking => counters.nf_early += some,
            (Decoy::OtherNodeDrops, "node-c") if spiking => drop_syns(counters, some),
            (Decoy::OtherEndDrops, node) if spiking && node == self.other_end() => drop_syns(counters, some),
            (Decoy::DropsElsewhen, "node-a") if !spiking => drop_syns(counters, some),
            (Decoy::Busy, "node-a") => counters.waits_ns += 500 * MS,
            (Decoy::Busy, "node-b") if spiking => counters.waits_ns += 100 * MS,
            (Decoy::Busy, "node-c") if spiking => counters.waits_ns += 500 * MS,
            _ => {}
        }
        counters.waits_ns += (5 + random.draw() % 20) * MS;
        counters.elsewhere += if spiking { some } else { 0 };
    }

    fn signals(&self, node: &str, counters: Counters, second: u64, spiking: bool) -> NodeSignals {
        let full = match (self.fault, self.decoy, node) {
            (Fault::CtFull, _, "node-a")
            | (Fault::CtFullOnServer, _, "node-b")
            | (_, Decoy::TableFullButPasses, "node-a")
            | (_, Decoy::OtherNodeDrops, "node-c") => spiking,
            (_, Decoy::OtherEndDrops, node) if node == self.other_end() => spiking,
            _ => false,
        };
        let (live, max) = match self.after(second) {
            None => (if full { 65_536 } else { 9000 }, 65_536),
            Some(After::Quiet) => (9000, 1 << 20),
            Some(_) => (if full { 80_000 } else { 9000 }, 1 << 20),
        };
        let conntrack = Conntrack {
            live,
            max,
            insert_failures: BTreeMap::from([("E2BIG".to_owned(), counters.table_failed)]),
            refused_syns: counters.table_refused,
            dropped_syns: counters.table_dropped,
            ..Conntrack::default()
        };
        let nf = NfConntrack {
            netns: 1,
            live: 262_144,
            max: 262_144,
            counters: BTreeMap::from([
                ("drop".to_owned(), counters.nf_drop),
                ("early_drop".to_owned(), counters.nf_early),
            ]),
        };
        let tcp = vec![tcp(1, counters.overflows)];
        let (mut nf, mut tcp) = (vec![nf], tcp);
        let other = |netns, drop| NfConntrack {
            netns,
            live: 262_144,
            max: 262_144,
            counters: BTreeMap::from([("drop".to_owned(), drop)]),
        };
        match self.decoy {
            _ if node != "node-b" => {}
            Decoy::OtherNamespace => {
                nf.push(other(2, second * 20));
                tcp.push(self::tcp(2, second * 20));
            }
            Decoy::ManyNamespaces => nf.extend((2..42).map(|netns| other(netns, counters.elsewhere / 40))),
            Decoy::SameTimes => nf.push(other(2, counters.elsewhere)),
            _ => {}
        }
        let cilium = MapFill {
            id: 1,
            name: "cilium_ct4_global".into(),
            kind: "lru_hash".into(),
            owner: Some("cilium".into()),
            live: 512_000,
            max: 524_288,
            estimate: false,
        };
        let is_full = self.fault == Fault::CiliumFull && node == "node-a";
        let hash = MapFill {
            id: 2,
            kind: "hash".into(),
            live: if is_full && spiking { 524_288 } else { 300_000 },
            ..cilium.clone()
        };
        let mut maps = if self.decoy == Decoy::CiliumFull { vec![cilium] } else { Vec::new() };
        if is_full {
            maps = vec![hash];
        }
        let mut signals = NodeSignals {
            node: node.into(),
            time_unix_ns: (START_S + self.begin_s + second) * S,
            tcp: observed(tcp),
            ..NodeSignals::default()
        };
        if self.decoy != Decoy::Blind {
            let filter = Drops { reason: "NETFILTER_DROP".into(), packets: counters.nf_drop, ..Drops::default() };
            signals.conntrack = observed(conntrack);
            signals.nf_conntrack = observed(nf);
            let program = Drops { reason: "TC_INGRESS".into(), packets: counters.program_drops, ..Drops::default() };
            signals.drops = observed(vec![filter, program]);
            signals.maps = observed(maps);
            let cpu = Pressure { some_total_ns: counters.waits_ns, full_total_ns: 0 };
            signals.pressure = observed(BTreeMap::from([("cpu".to_owned(), cpu)]));
        }
        signals
    }
}

fn tcp(netns: u64, overflows: u64) -> TcpCounters {
    let counters = ["ListenOverflows", "ListenDrops"].map(|name| (name.to_owned(), overflows));
    TcpCounters { netns, counters: counters.into() }
}

pub(crate) fn empty(edge: &str, vantage: Vantage, start_unix_ns: u64) -> EdgeBucket {
    EdgeBucket { edge: edge.into(), vantage, start_unix_ns, length_ns: BUCKET_S * S, ..EdgeBucket::default() }
}

pub(crate) fn batch(node: &str, buckets: Vec<EdgeBucket>) -> EdgeBatch {
    EdgeBatch { node: node.into(), slow_above_ns: 100 * MS, buckets }
}

/// Edges that fail without being an outage.
fn failing_edges(second: u64, now: u64, random: &mut Random) -> EdgeBatch {
    let failing = |edge: &str, n: u64, failed: u64| {
        let mut bucket =
            EdgeBucket { n, unmeasured: failed, failed, reset: failed, ..empty(edge, Vantage::Client, now) };
        for _connection in 0..n {
            bucket.latency_ns.record(MS);
        }
        bucket
    };
    let mut buckets = vec![failing("shop/web->shop/cart:80", 17 + random.draw() % 4, 2)];
    if second % 600 < 60 {
        buckets.push(failing("shop/cron->shop/moved:80", 0, 20));
        buckets.extend((0..5).map(|port| failing(&format!("scanner->shop/cart:{}", second % 600 * 5 + port), 0, 1)));
    }
    batch("node-a", buckets)
}

fn drop_syns(counters: &mut Counters, syns: u64) {
    counters.table_failed += syns;
    counters.table_refused += syns;
    counters.table_dropped += syns;
}

fn observed<T>(value: T) -> Observed<T> {
    Observed::Observed { value }
}
