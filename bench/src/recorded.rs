//! Events as a node sees them: a thousand edges between named pods, each connection opened, established and closed.

use std::net::Ipv4Addr;
use std::time::Duration;

use synscope_abi::event::{Event, EventKind, Verdict};
use synscope_bus::endpoint::Endpoint;
use synscope_datapath::names::Names;

/// As many as the kernel's array of them holds.
pub(crate) const RECORDED: u32 = 4096;

const CLIENTS: u32 = 40;
const SERVERS: u32 = 25;
const KINDS: [EventKind; 3] = [EventKind::Opened, EventKind::Established, EventKind::Closed];

/// The event of this number. Its stamps are times before now, ns, as the `replay` program takes them.
pub(crate) fn event(number: u32) -> Event {
    let connection = number / 3;
    let kind = KINDS[usize::try_from(number % 3).unwrap_or(0)];
    // From 0.1 to about 4 ms, so that sketches get more than one bucket.
    let latency_ns = 100_000 + u64::from(connection.wrapping_mul(2_654_435_761) % 4_000_000);
    let syn_ns = 5_000_000 + latency_ns;
    let seen = |seen: bool, ns| if seen { ns } else { 0 };
    Event {
        syn_ns,
        syn_ack_ns: seen(kind != EventKind::Opened, 5_000_000),
        established_ns: seen(kind != EventKind::Opened, 4_900_000),
        packets: [5, 4],
        bytes: [900, 4000],
        client: bytes(client(connection % CLIENTS)),
        server: bytes(server(connection / CLIENTS % SERVERS)),
        client_port: [0x9c, u8::try_from(connection % 251).unwrap_or(0)],
        server_port: 80_u16.to_be_bytes(),
        ifindex: 2,
        initial_sequence: number,
        kind: kind as u8,
        verdict: Verdict::Forwarded as u8,
        family: 4,
        protocol: 6,
        tcp_flags: [0x1a, 0x1a],
        ..Event::default()
    }
}

/// Every pod has a name; the clients live here.
pub(crate) fn names() -> Names {
    let mut names = Names::new("node-a", Duration::from_hours(3));
    let mut claim = |node: &str, of: fn(u32) -> Ipv4Addr, count, role: &str| {
        for n in 0..count {
            let endpoint = Endpoint { workload: format!("shop/{role}-{n}"), since_unix_ns: 0 };
            names.claim(node, of(n).into(), &endpoint, 0);
        }
    };
    claim("node-a", client, CLIENTS, "client");
    claim("node-b", server, SERVERS, "server");
    names
}

fn client(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 | number)
}

fn server(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a02_0000 | number)
}

fn bytes(address: Ipv4Addr) -> [u8; 16] {
    let [a, b, c, d] = address.octets();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
