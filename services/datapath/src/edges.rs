//! Folding handshakes into their edges, one bucket of time at a time.
//!
//! What is published is what came since the last time: a SYN that took a minute to get in is added to the bucket of its
//! first copy, and readers add it to what they have.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use synscope_abi::event::{Event, EventKind};
use synscope_abi::tcp::ACK;
use synscope_bus::message::edge::{EdgeBatch, EdgeBucket};
use synscope_bus::message::flow::Vantage;
use synscope_bus::subject::Shard;

use crate::flow::{self, WallClock};
use crate::names::{Names, Span};

/// Edges in one bucket at most.
const EDGES_MAX: usize = 20_000;
/// Buckets in one message at most, below the 1 MiB that NATS takes: latencies from 16 µs to 134 s lie in 1,472 parts of
/// a sketch, about 9 KiB.
const BATCH_BUCKETS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    server: IpAddr,
    port: u16,
    vantage: Vantage,
    start_unix_ns: u64,
    /// Which of its names each address had: one that is given to another pod within a bucket is another edge's from then on.
    names: [u64; 2],
}

/// What came since the last time.
#[derive(Debug)]
pub struct Edges {
    node: String,
    bucket_ns: u64,
    slow_above_ns: u64,
    open: HashMap<Key, EdgeBucket>,
    refused: u64,
}

/// What a record says about a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    Measured { latency_ns: u64, retries: u64 },
    Refused,
    Dropped,
    Unmeasured { retries: u64 },
    Failed { retries: u64, reset: bool },
    HalfSeen,
}

impl Edges {
    /// Nothing yet.
    pub fn new(node: &str, bucket: Duration, slow_above: Duration) -> Self {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            node: node.to_owned(),
            bucket_ns: ns(bucket).max(1),
            slow_above_ns: ns(slow_above),
            open: HashMap::new(),
            refused: 0,
        }
    }

    /// Whether a handshake of this length is slow.
    pub const fn is_slow(&self, latency_ns: u64) -> bool {
        latency_ns > self.slow_above_ns
    }

    /// Records that no edge was left for.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes what a record says about its connection's handshake, if it says anything.
    pub fn take(&mut self, record: &Event, names: &Names, clock: WallClock) {
        let Some(handshake) = handshake(record) else { return };
        let Some((client, server)) = flow::addresses(record) else { return };
        let at_unix_ns = clock.offset_ns.saturating_add(flow::began_ns(record));
        let ends = names.ends(client, server, at_unix_ns);
        let key = Key {
            client,
            server,
            port: u16::from_be_bytes(record.server_port),
            vantage: ends.vantage(),
            start_unix_ns: at_unix_ns - at_unix_ns % self.bucket_ns,
            names: ends.generation(),
        };
        let full = self.open.len() >= EDGES_MAX;
        let bucket = match self.open.get_mut(&key) {
            Some(bucket) => bucket,
            None if full => {
                self.refused += 1;
                return;
            }
            None => self.open.entry(key).or_insert_with(|| EdgeBucket {
                edge: format!("{}->{}:{}", label(ends.client, client), label(ends.server, server), key.port),
                vantage: key.vantage,
                start_unix_ns: key.start_unix_ns,
                length_ns: self.bucket_ns,
                ..EdgeBucket::default()
            }),
        };
        match handshake {
            Handshake::Measured { latency_ns, retries } => {
                bucket.n += 1;
                bucket.slow += u64::from(latency_ns > self.slow_above_ns);
                bucket.retries += retries;
                bucket.latency_ns.record(latency_ns);
            }
            Handshake::Refused => bucket.refused += 1,
            Handshake::Dropped => {
                bucket.refused += 1;
                bucket.dropped += 1;
            }
            Handshake::Unmeasured { retries } => {
                bucket.unmeasured += 1;
                bucket.retries += retries;
            }
            Handshake::Failed { retries, reset } => {
                bucket.unmeasured += 1;
                bucket.failed += 1;
                bucket.reset += u64::from(reset);
                bucket.retries += retries;
            }
            Handshake::HalfSeen => bucket.half_seen += 1,
        }
    }

    /// What is to be published, by shard; from here on it begins anew.
    pub fn flush(&mut self) -> Vec<(Shard, EdgeBatch)> {
        let mut merged: BTreeMap<(String, Vantage, u64), EdgeBucket> = BTreeMap::new();
        for (key, bucket) in self.open.drain() {
            match merged.entry((bucket.edge.clone(), key.vantage, key.start_unix_ns)) {
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(bucket)),
                // Several addresses of one workload.
                std::collections::btree_map::Entry::Occupied(mut place) => place.get_mut().add(&bucket),
            }
        }
        let mut shards: BTreeMap<Shard, Vec<EdgeBatch>> = BTreeMap::new();
        for ((edge, ..), bucket) in merged {
            let batches = shards.entry(Shard::of_edge(&edge)).or_default();
            match batches.last_mut() {
                Some(batch) if batch.buckets.len() < BATCH_BUCKETS => batch.buckets.push(bucket),
                _ => batches.push(EdgeBatch {
                    node: self.node.clone(),
                    slow_above_ns: self.slow_above_ns,
                    buckets: vec![bucket],
                }),
            }
        }
        let of_shard = |(shard, batches): (Shard, Vec<EdgeBatch>)| batches.into_iter().map(move |batch| (shard, batch));
        shards.into_iter().flat_map(of_shard).collect()
    }
}

/// The workload, or the address where it had no name.
fn label(end: Option<&Span>, address: IpAddr) -> String {
    end.map_or_else(|| address.to_string(), |span| span.workload().to_string())
}

/// Each handshake ends in one of these records; a refused SYN adds one of its own each time.
fn handshake(record: &Event) -> Option<Handshake> {
    let retries = u64::from(record.syn_retries);
    match EventKind::from_number(record.kind)? {
        EventKind::Established if record.syn_ns == 0 || record.syn_ack_ns == 0 => {
            Some(Handshake::Unmeasured { retries })
        }
        EventKind::Established => {
            let latency_ns = record.syn_ack_ns.saturating_sub(record.syn_ns);
            Some(Handshake::Measured { latency_ns, retries })
        }
        EventKind::Refused => Some(Handshake::Refused),
        EventKind::Dropped => Some(Handshake::Dropped),
        EventKind::PendingExpired | EventKind::Expired => Some(Handshake::Failed { retries, reset: false }),
        EventKind::Abandoned if is_shaking_hands(record) => Some(Handshake::Failed { retries, reset: false }),
        // A reset that answers the SYN: the port is closed, which is no latency. After a SYN-ACK it is the client that has
        // given up meanwhile.
        EventKind::Reset if is_shaking_hands(record) => {
            Some(Handshake::Failed { retries, reset: record.syn_ack_ns == 0 })
        }
        EventKind::HalfSeen => Some(Handshake::HalfSeen),
        EventKind::Opened
        | EventKind::Closed
        | EventKind::Abandoned
        | EventKind::Reset
        | EventKind::Denied
        | EventKind::Retried
        | EventKind::Heartbeat => None,
    }
}

/// Whether the connection's handshake had begun and not ended: one that was complete or half seen was told before. Where
/// the client has acknowledged what did not pass here, it is half seen.
const fn is_shaking_hands(record: &Event) -> bool {
    let is_half_seen = record.syn_ack_ns == 0 && record.tcp_flags[0] & ACK != 0;
    record.syn_ns != 0 && record.established_ns == 0 && !is_half_seen
}

#[cfg(test)]
mod tests {
    use synscope_abi::tcp::{RST, SYN};
    use synscope_bus::endpoint::Endpoint;
    use synscope_bus::envelope::{self, PublisherId};
    use synscope_bus::subject::{EDGE_SHARDS, NodeId};

    use super::*;

    const MS: u64 = 1_000_000;
    const CLOCK: WallClock = WallClock { offset_ns: 1_700_000_000_000_000_000 };

    fn record(kind: EventKind, client: u8, syn_ms: u64, syn_ack_ms: u64) -> Event {
        let address = |last| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&[10, 0, 0, last]);
            bytes
        };
        Event {
            at_ns: 90_000 * MS,
            syn_ns: syn_ms * MS,
            syn_ack_ns: syn_ack_ms * MS,
            client: address(client),
            server: address(9),
            server_port: 80_u16.to_be_bytes(),
            kind: kind as u8,
            family: 4,
            protocol: 6,
            syn_retries: 1,
            ..Event::default()
        }
    }

    fn names() -> Names {
        let mut names = Names::new("a", Duration::from_hours(3));
        for (last, name) in [(1, "order"), (2, "order"), (9, "inventory")] {
            claim(&mut names, last, name, 0);
        }
        names
    }

    fn claim(names: &mut Names, last: u8, workload: &str, now_unix_ns: u64) {
        let endpoint = Endpoint { workload: workload.to_owned(), since_unix_ns: 0 };
        names.claim("a", [10, 0, 0, last].into(), &endpoint, now_unix_ns);
    }

    #[test]
    fn a_workloads_addresses_are_one_edge_and_buckets_go_by_the_first_syn() {
        let mut edges = Edges::new("a", Duration::from_secs(10), Duration::from_millis(100));
        edges.take(&record(EventKind::Established, 1, 5_000, 5_001), &names(), CLOCK);
        edges.take(&record(EventKind::Established, 2, 9_000, 12_000), &names(), CLOCK);
        edges.take(&record(EventKind::Dropped, 2, 9_500, 0), &names(), CLOCK);
        edges.take(&record(EventKind::Established, 2, 0, 12_000), &names(), CLOCK);
        edges.take(&record(EventKind::Opened, 2, 9_500, 0), &names(), CLOCK);

        let batches = edges.flush();
        let [(shard, batch)] = batches.as_slice() else { panic!("{batches:?}") };
        assert_eq!(*shard, Shard::of_edge("order->inventory:80"));
        let [first, later] = batch.buckets.as_slice() else { panic!("{batch:?}") };
        assert_eq!((first.edge.as_str(), first.vantage), ("order->inventory:80", Vantage::Client));
        assert_eq!((first.n, first.slow, first.retries, first.dropped, first.unmeasured), (2, 1, 2, 1, 0));
        assert_eq!(first.start_unix_ns, CLOCK.offset_ns);
        assert_eq!((later.n, later.unmeasured), (0, 1), "without a SYN it is counted where it was seen");
        assert!(edges.flush().is_empty());
    }

    #[test]
    fn an_address_given_to_another_pod_within_a_bucket_is_two_edges() {
        let mut edges = Edges::new("a", Duration::from_secs(10), Duration::from_millis(100));
        let mut names = names();
        edges.take(&record(EventKind::Established, 1, 5_000, 5_001), &names, CLOCK);
        claim(&mut names, 1, "billing", CLOCK.offset_ns + 6_000 * MS);
        edges.take(&record(EventKind::Established, 1, 7_000, 7_001), &names, CLOCK);
        edges.take(&record(EventKind::Established, 1, 5_500, 7_002), &names, CLOCK);
        let buckets = edges.flush().into_iter().flat_map(|(_, batch)| batch.buckets);
        let mut counted: Vec<_> = buckets.map(|bucket| (bucket.edge, bucket.n)).collect();
        counted.sort();
        assert_eq!(counted, [("billing->inventory:80".to_owned(), 1), ("order->inventory:80".to_owned(), 2)]);
    }

    #[test]
    fn a_connection_given_up_after_its_handshake_was_measured_already() {
        let attempt = record(EventKind::Abandoned, 1, 5_000, 0);
        let connection = Event { syn_ack_ns: 5_001 * MS, established_ns: 5_002 * MS, ..attempt };
        assert_eq!(handshake(&attempt), Some(Handshake::Failed { retries: 1, reset: false }));
        assert_eq!(handshake(&connection), None);
    }

    #[test]
    fn a_handshake_that_never_completed_has_failed_in_the_bucket_of_its_first_syn() {
        let mut edges = Edges::new("a", Duration::from_secs(10), Duration::from_millis(100));
        let ends = [EventKind::Expired, EventKind::PendingExpired, EventKind::Abandoned, EventKind::Reset];
        for kind in ends {
            edges.take(&record(kind, 1, 5_000, 0), &names(), CLOCK);
        }
        let established = Event { established_ns: 5_002 * MS, ..record(EventKind::Reset, 1, 5_000, 5_001) };
        edges.take(&established, &names(), CLOCK);
        let batches = edges.flush();
        let bucket = &batches[0].1.buckets[0];
        assert_eq!(bucket.start_unix_ns, CLOCK.offset_ns);
        assert_eq!((bucket.n, bucket.unmeasured, bucket.failed, bucket.reset, bucket.retries), (0, 4, 4, 1, 4));
        let given_up = record(EventKind::Reset, 1, 5_000, 6_001);
        assert_eq!(handshake(&given_up), Some(Handshake::Failed { retries: 1, reset: false }), "the port is open");
    }

    /// Each edge has latencies all over.
    #[test]
    fn many_edges_go_in_messages_that_a_server_takes() {
        const MAX_PAYLOAD: usize = 1 << 20;
        let mut edges = Edges::new("a", Duration::from_secs(10), Duration::from_millis(100));
        for port in 0..2 * u16::from(EDGE_SHARDS) * u16::try_from(BATCH_BUCKETS).unwrap() {
            let record = record(EventKind::Established, 1, 5_000, 5_001);
            edges.take(&Event { server_port: port.to_be_bytes(), ..record }, &names(), CLOCK);
        }
        for bucket in edges.open.values_mut() {
            let latencies = (0..23 * 64).map(|step| (64 + step % 64) << (8 + step / 64));
            latencies.for_each(|latency_ns| bucket.latency_ns.record(latency_ns));
        }
        let all = edges.open.len();
        let batches = edges.flush();
        assert_eq!(batches.iter().map(|(_, batch)| batch.buckets.len()).sum::<usize>(), all);
        assert!(batches.len() > EDGE_SHARDS.into(), "shards are split");
        let publisher = PublisherId::begin(NodeId::new("a").unwrap());
        for (shard, batch) in &batches {
            assert!(batch.buckets.iter().all(|bucket| Shard::of_edge(&bucket.edge) == *shard));
            let length = envelope::encode(batch, &publisher, 1).unwrap().payload.len();
            assert!(length < MAX_PAYLOAD * 3 / 4, "{length} bytes of {} edges", batch.buckets.len());
        }
    }

    #[test]
    fn what_ends_a_connection_that_was_half_seen_or_met_in_the_middle_is_no_failed_handshake() {
        for kind in [EventKind::Reset, EventKind::Abandoned] {
            let half_seen = Event { tcp_flags: [SYN | ACK, RST], ..record(kind, 1, 5_000, 0) };
            assert_eq!(handshake(&half_seen), None, "{kind:?}: it was told as half seen");
            let mid_stream = Event { tcp_flags: [ACK, RST | ACK], ..record(kind, 1, 0, 0) };
            assert_eq!(handshake(&mid_stream), None, "{kind:?}: it was not measured to begin with");
        }
        let refused = Event { tcp_flags: [SYN, RST | ACK], ..record(EventKind::Reset, 1, 5_000, 0) };
        assert_eq!(handshake(&refused), Some(Handshake::Failed { retries: 1, reset: true }));
    }

    #[test]
    fn edges_beyond_the_bound_are_counted() {
        let mut edges = Edges::new("a", Duration::from_secs(10), Duration::from_millis(100));
        for port in 0..=u16::try_from(EDGES_MAX).unwrap() {
            let record = Event { server_port: port.to_be_bytes(), ..record(EventKind::Established, 1, 5_000, 5_001) };
            edges.take(&record, &names(), CLOCK);
        }
        assert_eq!(edges.refused(), 1);
    }
}
