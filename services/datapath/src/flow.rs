//! From a kernel record to a flow event as subscribers see it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use synscope_abi::event::{Event, EventKind, Reason, Verdict};
use synscope_abi::flow::Endpoint;
use synscope_bus::message::flow::{self, FlowEvent, FlowKind};

use crate::names::{Names, Span};

/// The difference between the two clocks of this node, so that a kernel stamp becomes a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Unix time minus `CLOCK_MONOTONIC`, ns.
    pub offset_ns: u64,
}

impl WallClock {
    /// Unix ns of a `CLOCK_MONOTONIC` stamp; none for 0, which means "not seen".
    #[must_use]
    pub const fn unix_ns(self, monotonic_ns: u64) -> Option<u64> {
        if monotonic_ns == 0 { None } else { Some(self.offset_ns.saturating_add(monotonic_ns)) }
    }
}

impl WallClock {
    /// The difference just now.
    pub fn read() -> Result<Self, nix::errno::Errno> {
        let ns = |time: nix::sys::time::TimeSpec| {
            u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
        };
        let monotonic = ns(nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?);
        let real = ns(nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)?);
        Ok(Self { offset_ns: real.saturating_sub(monotonic) })
    }
}

/// Why a record is not a flow event: another version of the kernel programs wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The kind is none this program knows.
    #[error("event kind {0} is unknown")]
    Kind(u8),
    /// The verdict is none this program knows.
    #[error("verdict {0} is unknown")]
    Verdict(u8),
    /// The reason is none this program knows.
    #[error("drop reason {0} is unknown")]
    Reason(u8),
    /// Neither 4 nor 6.
    #[error("address family {0} is unknown")]
    Family(u8),
}

/// When a record's connection began as far as it was seen, `CLOCK_MONOTONIC` ns: by its first SYN.
pub const fn began_ns(record: &Event) -> u64 {
    match *record {
        Event { syn_ns: 1.., .. } => record.syn_ns,
        Event { syn_ack_ns: 1.., .. } => record.syn_ack_ns,
        Event { established_ns: 1.., .. } => record.established_ns,
        _ => record.at_ns,
    }
}

/// The flow event that a record tells of, with the names that its addresses had when it began.
pub fn event(record: &Event, names: &Names, clock: WallClock) -> Result<FlowEvent, RecordError> {
    let kind = EventKind::from_number(record.kind).ok_or(RecordError::Kind(record.kind))?;
    let verdict = Verdict::from_number(record.verdict).ok_or(RecordError::Verdict(record.verdict))?;
    let reason = Reason::from_number(record.reason).ok_or(RecordError::Reason(record.reason))?;
    let (client, server) = (address(record, Endpoint::A)?, address(record, Endpoint::B)?);
    let ends = names.ends(client, server, clock.offset_ns.saturating_add(began_ns(record)));
    let workload = |end: Option<&Span>| end.map(|span| span.workload().to_string());
    Ok(FlowEvent {
        kind: kind_on_the_wire(kind),
        time_unix_ns: clock.offset_ns.saturating_add(record.at_ns),
        vantage: ends.vantage(),
        verdict: match verdict {
            Verdict::Forwarded => flow::Verdict::Forwarded,
            Verdict::Dropped => flow::Verdict::Dropped,
        },
        drop_reason: (verdict == Verdict::Dropped && reason != Reason::None).then(|| reason.name().to_owned()),
        protocol: record.protocol,
        source: client.to_string(),
        source_port: u16::from_be_bytes(record.client_port),
        destination: server.to_string(),
        destination_port: u16::from_be_bytes(record.server_port),
        initial_sequence: (record.syn_ns != 0).then_some(record.initial_sequence),
        first_syn_unix_ns: clock.unix_ns(record.syn_ns),
        server_latency_ns: between(record.syn_ns, record.syn_ack_ns),
        client_latency_ns: between(record.syn_ack_ns, record.established_ns),
        syn_retries: record.syn_retries.into(),
        syn_ack_retries: record.syn_ack_retries.into(),
        half_seen: kind == EventKind::HalfSeen,
        packets_forward: record.packets[0],
        packets_reverse: record.packets[1],
        bytes_forward: record.bytes[0],
        bytes_reverse: record.bytes[1],
        source_workload: workload(ends.client),
        destination_workload: workload(ends.server),
    })
}

/// Client and server of a record; none when it is of no known family.
pub fn addresses(record: &Event) -> Option<(IpAddr, IpAddr)> {
    Some((address(record, Endpoint::A).ok()?, address(record, Endpoint::B).ok()?))
}

fn address(record: &Event, side: Endpoint) -> Result<IpAddr, RecordError> {
    let bytes = if side == Endpoint::A { record.client } else { record.server };
    match record.family {
        4 => Ok(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        6 => Ok(Ipv6Addr::from(bytes).into()),
        other => Err(RecordError::Family(other)),
    }
}

/// Time between two stamps; none when either was not seen.
const fn between(from_ns: u64, to_ns: u64) -> Option<u64> {
    if from_ns == 0 || to_ns == 0 { None } else { Some(to_ns.saturating_sub(from_ns)) }
}

const fn kind_on_the_wire(kind: EventKind) -> FlowKind {
    match kind {
        EventKind::Opened => FlowKind::Opened,
        EventKind::Established => FlowKind::Established,
        EventKind::Closed => FlowKind::Closed,
        EventKind::Reset => FlowKind::Reset,
        EventKind::Denied => FlowKind::Denied,
        EventKind::Dropped => FlowKind::Dropped,
        EventKind::Retried => FlowKind::Retried,
        EventKind::Heartbeat => FlowKind::Heartbeat,
        EventKind::Expired => FlowKind::Expired,
        EventKind::PendingExpired => FlowKind::PendingExpired,
        EventKind::HalfSeen => FlowKind::HalfSeen,
        EventKind::Refused => FlowKind::Refused,
        EventKind::Abandoned => FlowKind::Abandoned,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use synscope_bus::endpoint::Endpoint;

    use super::*;

    fn record() -> Event {
        let mut client = [0; 16];
        client[..4].copy_from_slice(&[10, 9, 0, 1]);
        let mut server = [0; 16];
        server[..4].copy_from_slice(&[10, 9, 0, 2]);
        Event {
            at_ns: 5_000,
            syn_ns: 1_000,
            syn_ack_ns: 4_000,
            established_ns: 5_000,
            client,
            server,
            client_port: 40_000_u16.to_be_bytes(),
            server_port: 80_u16.to_be_bytes(),
            kind: EventKind::Established as u8,
            verdict: Verdict::Forwarded as u8,
            family: 4,
            protocol: 6,
            syn_retries: 1,
            initial_sequence: 7,
            ..Event::default()
        }
    }

    const CLOCK: WallClock = WallClock { offset_ns: 1_000_000 };

    #[test]
    fn a_handshake_becomes_latencies_and_times_of_day() {
        let event = event(&record(), &Names::default(), CLOCK).unwrap();
        assert_eq!((event.server_latency_ns, event.client_latency_ns), (Some(3_000), Some(1_000)));
        assert_eq!((event.time_unix_ns, event.first_syn_unix_ns), (1_005_000, Some(1_001_000)));
        assert_eq!((event.source.as_str(), event.source_port), ("10.9.0.1", 40_000));
        assert_eq!((event.destination.as_str(), event.destination_port), ("10.9.0.2", 80));
        assert_eq!((event.syn_retries, event.initial_sequence, event.drop_reason), (1, Some(7), None));
    }

    #[test]
    fn what_was_not_seen_is_none_and_never_zero() {
        let event = event(&Event { syn_ns: 0, ..record() }, &Names::default(), CLOCK).unwrap();
        assert_eq!((event.server_latency_ns, event.first_syn_unix_ns, event.initial_sequence), (None, None, None));
        assert_eq!(event.client_latency_ns, Some(1_000));
    }

    /// The first SYN's time decides, however late the record comes.
    #[test]
    fn a_flow_keeps_the_names_that_its_addresses_had_when_it_began() {
        let mut names = Names::new("node-a", Duration::from_secs(1));
        let [client, server] = [1, 2].map(|last| IpAddr::from([10, 9, 0, last]));
        let endpoint = |workload: &str, since_unix_ns| Endpoint { workload: workload.into(), since_unix_ns };
        names.claim("node-a", client, &endpoint("old", 0), 1_000_000);
        names.claim("node-b", server, &endpoint("inventory", 0), 1_000_000);
        names.release("node-a", client, 1_002_000);
        names.claim("node-b", client, &endpoint("new", 1_003_000), 1_003_500);
        let called = |record: &Event| {
            let event = event(record, &names, CLOCK).unwrap();
            (event.source_workload, event.destination_workload.unwrap(), event.vantage)
        };
        let inventory = || "inventory".to_owned();
        assert_eq!(called(&record()), (Some("old".into()), inventory(), flow::Vantage::Client));
        let between = Event { syn_ns: 2_500, ..record() };
        assert_eq!(called(&between), (None, inventory(), flow::Vantage::Transit));
        let later = Event { syn_ns: 3_000, ..record() };
        assert_eq!(called(&later), (Some("new".into()), inventory(), flow::Vantage::Transit));
        let unseen = Event { syn_ns: 0, syn_ack_ns: 0, established_ns: 0, ..record() };
        assert_eq!(called(&unseen).0.as_deref(), Some("new"), "all that is known of it is the record's own time");
    }

    #[test]
    fn a_full_table_has_hubbles_name() {
        let record = Event {
            kind: EventKind::Dropped as u8,
            verdict: Verdict::Dropped as u8,
            reason: Reason::CtMapInsertionFailed as u8,
            ..record()
        };
        let dropped = event(&record, &Names::default(), CLOCK).unwrap();
        assert_eq!(dropped.verdict, flow::Verdict::Dropped);
        assert_eq!(dropped.drop_reason.as_deref(), Some("CT_MAP_INSERTION_FAILED"));
        let passed = Event { kind: EventKind::Refused as u8, verdict: Verdict::Forwarded as u8, ..record };
        let passed = event(&passed, &Names::default(), CLOCK).unwrap();
        assert_eq!((passed.kind, passed.drop_reason), (FlowKind::Refused, None), "it was not dropped");
    }

    #[test]
    fn every_kind_of_the_kernel_keeps_its_name() {
        for number in 0..=u8::MAX {
            if let Some(kind) = EventKind::from_number(number) {
                let wire = rmp_serde::to_vec(&kind_on_the_wire(kind)).unwrap();
                assert_eq!(rmp_serde::from_slice::<String>(&wire).unwrap(), kind.name());
            }
        }
    }

    #[test]
    fn foreign_numbers_are_refused_by_name() {
        let wrong = |record: Event| event(&record, &Names::default(), CLOCK).unwrap_err();
        assert_eq!(wrong(Event { kind: 200, ..record() }), RecordError::Kind(200));
        assert_eq!(wrong(Event { verdict: 0, ..record() }), RecordError::Verdict(0));
        assert_eq!(wrong(Event { reason: 1, ..record() }), RecordError::Reason(1));
        assert_eq!(wrong(Event { family: 5, ..record() }), RecordError::Family(5));
    }
}
