//! Reading the connection tables for people.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use synscope_abi::flow::{Endpoint, Flow, FlowKey};
use synscope_abi::tcp::State;
use synscope_bus::command::datapath::{ConntrackEntry, ConntrackPart, ConntrackTop, ListConntrack, TopConntrack};
use synscope_bus::life::unix_now_ns;

use crate::flow::WallClock;
use crate::kernel::{Kernel, KernelError};
use crate::names::{Directory, Names, Span};

/// Entries in one answer at most.
const LIMIT_MAX: usize = 1000;
/// Pairs of addresses that are named at once: that takes well below a millisecond.
const NAMED_AT_ONCE: usize = 4096;

/// Why the tables cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The place to go on from is none that was given out.
    #[error("{0:?} is no place in the table: take `next` of the previous answer")]
    After(String),
    /// When entries began cannot be told.
    #[error("the clocks cannot be read")]
    Clock(#[from] nix::errno::Errno),
    /// What was asked for is no address.
    #[error("{0:?} is no IP address")]
    Address(String),
}

/// A part of the tables: entries in the order of their keys, so that parts fit together while the table changes.
pub fn list(kernel: &Kernel, names: &Directory, query: &ListConntrack) -> Result<ConntrackPart, ConntrackError> {
    let limit = usize::from(query.limit).clamp(1, LIMIT_MAX);
    let after =
        query.after.as_deref().map(|text| text.parse::<u64>().map_err(|_not| ConntrackError::After(text.to_owned())));
    let after = after.transpose()?.unwrap_or(0);
    let sieve = Sieve::new(query)?;
    // The largest places go first when there are too many, so what is kept is the part right behind `after`.
    let mut part: BTreeMap<u64, (Tuple, Flow)> = BTreeMap::new();
    let mut more = false;
    each(kernel, |place, tuple, flow| {
        if place <= after || !sieve.lets_through(tuple, flow) {
            return;
        }
        part.insert(place, (*tuple, *flow));
        if part.len() > limit {
            part.pop_last();
            more = true;
        }
    })?;
    let next = part.last_key_value().filter(|_| more).map(|(place, _)| place.to_string());
    let (clock, names) = (WallClock::read()?, names.read());
    let entries = part.into_values().map(|(tuple, flow)| readable(&tuple, &flow, &names, clock)).collect();
    Ok(ConntrackPart { entries, next })
}

/// The edges with the most entries, by the names that addresses have now.
pub fn top(kernel: &Kernel, names: &Directory, query: &TopConntrack) -> Result<Vec<ConntrackTop>, ConntrackError> {
    let limit = usize::from(query.limit).clamp(1, LIMIT_MAX);
    // By address first, and never more of them than the tables have entries: names cost more to compare.
    let mut pairs: HashMap<(IpAddr, IpAddr, u16), Share, RandomState> = HashMap::default();
    each(kernel, |_, tuple, flow| {
        let bytes = flow.bytes[0].saturating_add(flow.bytes[1]);
        pairs
            .entry((tuple.source, tuple.destination, tuple.destination_port))
            .or_default()
            .add(Share { entries: 1, bytes });
    })?;
    // A pair of addresses without names is an edge of its own; those with names may be of one workload.
    let mut top = Vec::with_capacity(pairs.len());
    let mut of_workloads: HashMap<Edge, Share, RandomState> = HashMap::default();
    let mut pairs = pairs.into_iter().peekable();
    while pairs.peek().is_some() {
        // The reader of records waits behind who wants to learn names, and who learns them behind this.
        let names = names.read();
        for ((source, destination, port), share) in pairs.by_ref().take(NAMED_AT_ONCE) {
            let edge = (Party::of(&names, source), Party::of(&names, destination), port);
            if matches!(edge, (Party::Address(_), Party::Address(_), _)) {
                top.push((edge, share));
            } else {
                of_workloads.entry(edge).or_default().add(share);
            }
        }
    }
    top.extend(of_workloads);
    // Ties go by name, so that one table gives one answer.
    let rank = |a: &(Edge, Share), b: &(Edge, Share)| b.1.cmp(&a.1).then(a.0.cmp(&b.0));
    if top.len() > limit {
        // Sorting all of them would take longer than reading the table.
        top.select_nth_unstable_by(limit, rank);
        top.truncate(limit);
    }
    top.sort_unstable_by(rank);
    let line = |((source, destination, destination_port), share): (Edge, Share)| ConntrackTop {
        source: source.to_string(),
        destination: destination.to_string(),
        destination_port,
        entries: share.entries,
        bytes: share.bytes,
    };
    Ok(top.into_iter().map(line).collect())
}

/// What an edge has of the tables: more entries come first, then more bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    entries: u64,
    bytes: u64,
}

impl Share {
    fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Who opens connections, to whom, and to which port.
type Edge = (Party, Party, u16);

/// One end of an edge.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Party {
    Workload(Arc<str>),
    Address(IpAddr),
}

impl Party {
    fn of(names: &Names, address: IpAddr) -> Self {
        names.workload(address).map_or(Self::Address(address), |name| Self::Workload(Arc::clone(name)))
    }
}

impl fmt::Display for Party {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(name) => to.write_str(name),
            Self::Address(address) => address.fmt(to),
        }
    }
}

/// Who opened a connection, and to whom.
#[derive(Clone, Copy)]
struct Tuple {
    protocol: u8,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
}

impl Tuple {
    fn new<const N: usize>(key: &FlowKey<N>, flow: &Flow, address: impl Fn([u8; N]) -> IpAddr) -> Self {
        let a = (address(key.address_a), u16::from_be_bytes(key.port_a));
        let b = (address(key.address_b), u16::from_be_bytes(key.port_b));
        let ((source, source_port), (destination, destination_port)) =
            if flow.origin == Endpoint::A as u8 { (a, b) } else { (b, a) };
        Self { protocol: key.protocol, source, source_port, destination, destination_port }
    }
}

fn each(kernel: &Kernel, mut see: impl FnMut(u64, &Tuple, &Flow)) -> Result<(), KernelError> {
    kernel
        .each_v4(|key, flow| see(place(key), &Tuple::new(key, flow, |address| Ipv4Addr::from(address).into()), flow))?;
    kernel.each_v6(|key, flow| see(place(key), &Tuple::new(key, flow, |address| Ipv6Addr::from(address).into()), flow))
}

fn readable(tuple: &Tuple, flow: &Flow, names: &Names, clock: WallClock) -> ConntrackEntry {
    let Tuple { protocol, source, source_port, destination, destination_port } = *tuple;
    let began_unix_ns = clock.unix_ns(flow.syn_ns).unwrap_or_else(unix_now_ns);
    let ends = names.ends(source, destination, began_unix_ns);
    let workload = |end: Option<&Span>| end.map(|span| span.workload().to_string());
    let measured = flow.syn_ns != 0 && flow.syn_ack_ns != 0;
    ConntrackEntry {
        protocol,
        source: source.to_string(),
        source_port,
        source_workload: workload(ends.client),
        destination: destination.to_string(),
        destination_port,
        destination_workload: workload(ends.server),
        state: State::from_number(flow.state).map_or("unknown", State::name).to_owned(),
        packets_forward: flow.packets[0],
        packets_reverse: flow.packets[1],
        bytes_forward: flow.bytes[0],
        bytes_reverse: flow.bytes[1],
        syn_retries: flow.syn_retries,
        server_latency_ns: measured.then(|| flow.syn_ack_ns.saturating_sub(flow.syn_ns)),
    }
}

/// A key's place in the order of listing, above 0: a hash (FNV-1a), so that one number is enough to go on from.
fn place<const N: usize>(key: &FlowKey<N>) -> u64 {
    let bytes = key.address_a.iter().chain(&key.address_b).chain(&key.port_a).chain(&key.port_b).chain([&key.protocol]);
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)).max(1)
}

/// What a list was asked to show.
struct Sieve<'a> {
    address: Option<IpAddr>,
    port: Option<u16>,
    state: Option<&'a str>,
}

impl<'a> Sieve<'a> {
    fn new(query: &'a ListConntrack) -> Result<Self, ConntrackError> {
        let ListConntrack { address, port, state, after: _, limit: _ } = query;
        let address = address
            .as_ref()
            .map(|text| text.parse().map_err(|_not| ConntrackError::Address(text.clone())))
            .transpose()?;
        Ok(Self { address, port: *port, state: state.as_deref() })
    }

    fn lets_through(&self, tuple: &Tuple, flow: &Flow) -> bool {
        self.address.is_none_or(|address| address == tuple.source || address == tuple.destination)
            && self.port.is_none_or(|port| port == tuple.source_port || port == tuple.destination_port)
            && self.state.is_none_or(|state| State::from_number(flow.state).map_or("unknown", State::name) == state)
    }
}
