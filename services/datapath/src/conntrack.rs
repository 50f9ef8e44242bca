//! Reading the connection tables for people.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::MapError;
use synscope_abi::flow::{Endpoint, Flow, FlowKey};
use synscope_abi::tcp::State;
use synscope_bus::command::datapath::{ConntrackEntry, ConntrackPart, ConntrackTop, ListConntrack, TopConntrack};

use crate::kernel::{Kernel, KernelError, Table};
use crate::names::Names;

/// Entries in one answer at most.
const LIMIT_MAX: usize = 1000;

/// Why the tables cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An entry could not be read.
    #[error("reading the connection table")]
    Read(#[from] MapError),
    /// The place to go on from is none that was given out.
    #[error("{0:?} is no place in the table: take `next` of the previous answer")]
    After(String),
}

/// A part of the tables: entries in the order of their keys, so that parts fit together while the table changes.
pub fn list(kernel: &Kernel, names: &Names, query: &ListConntrack) -> Result<ConntrackPart, ConntrackError> {
    let limit = usize::from(query.limit).clamp(1, LIMIT_MAX);
    let after =
        query.after.as_deref().map(|text| text.parse::<u64>().map_err(|_not| ConntrackError::After(text.to_owned())));
    let after = after.transpose()?.unwrap_or(0);
    // The largest places go first when there are too many, so what is kept is the part right behind `after`.
    let mut part: BTreeMap<u64, ConntrackEntry> = BTreeMap::new();
    let mut more = false;
    each(kernel, names, |place, entry| {
        if place <= after || !matches(&entry, query) {
            return;
        }
        part.insert(place, entry);
        if part.len() > limit {
            part.pop_last();
            more = true;
        }
    })?;
    let next = part.last_key_value().filter(|_| more).map(|(place, _)| place.to_string());
    Ok(ConntrackPart { entries: part.into_values().collect(), next })
}

/// The edges with the most entries.
pub fn top(kernel: &Kernel, names: &Names, query: &TopConntrack) -> Result<Vec<ConntrackTop>, ConntrackError> {
    let limit = usize::from(query.limit).clamp(1, LIMIT_MAX);
    let mut edges: BTreeMap<(String, String, u16), (u64, u64)> = BTreeMap::new();
    each(kernel, names, |_, entry| {
        let source = entry.source_workload.unwrap_or(entry.source);
        let destination = entry.destination_workload.unwrap_or(entry.destination);
        let sum = edges.entry((source, destination, entry.destination_port)).or_default();
        sum.0 += 1;
        sum.1 = sum.1.saturating_add(entry.bytes_forward).saturating_add(entry.bytes_reverse);
    })?;
    let mut top: Vec<_> = edges
        .into_iter()
        .map(|((source, destination, destination_port), (entries, bytes))| ConntrackTop {
            source,
            destination,
            destination_port,
            entries,
            bytes,
        })
        .collect();
    top.sort_by_key(|line| std::cmp::Reverse((line.entries, line.bytes)));
    top.truncate(limit);
    Ok(top)
}

fn each(kernel: &Kernel, names: &Names, mut see: impl FnMut(u64, ConntrackEntry)) -> Result<(), ConntrackError> {
    walk(&kernel.table_v4()?, names, |address| Ipv4Addr::from(address).into(), &mut see)?;
    walk(&kernel.table_v6()?, names, |address| Ipv6Addr::from(address).into(), &mut see)
}

fn walk<const N: usize>(
    table: &Table<N>,
    names: &Names,
    address: impl Fn([u8; N]) -> IpAddr,
    see: &mut impl FnMut(u64, ConntrackEntry),
) -> Result<(), ConntrackError>
where
    FlowKey<N>: aya::Pod,
{
    for entry in table {
        // An entry that goes while the walk is at it makes the kernel begin again, and aya end: what was seen is told.
        let (key, flow) = match entry {
            Ok(entry) => entry,
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error.into()),
        };
        see(place(&key), readable(&key, &flow, names, &address));
    }
    Ok(())
}

fn readable<const N: usize>(
    key: &FlowKey<N>,
    flow: &Flow,
    names: &Names,
    address: impl Fn([u8; N]) -> IpAddr,
) -> ConntrackEntry {
    let a = (address(key.address_a), u16::from_be_bytes(key.port_a));
    let b = (address(key.address_b), u16::from_be_bytes(key.port_b));
    let ((source, source_port), (destination, destination_port)) =
        if flow.origin == Endpoint::A as u8 { (a, b) } else { (b, a) };
    let measured = flow.syn_ns != 0 && flow.syn_ack_ns != 0;
    ConntrackEntry {
        protocol: key.protocol,
        source: source.to_string(),
        source_port,
        source_workload: names.workload(source).map(std::string::ToString::to_string),
        destination: destination.to_string(),
        destination_port,
        destination_workload: names.workload(destination).map(std::string::ToString::to_string),
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

fn matches(entry: &ConntrackEntry, query: &ListConntrack) -> bool {
    let ListConntrack { address, port, state, after: _, limit: _ } = query;
    address.as_ref().is_none_or(|address| *address == entry.source || *address == entry.destination)
        && port.is_none_or(|port| port == entry.source_port || port == entry.destination_port)
        && state.as_ref().is_none_or(|state| *state == entry.state)
}
