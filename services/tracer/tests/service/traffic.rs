//! Curated probes that are at packets: what they tell of packets that this test sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::network::Network;
use crate::node::{Fleet, until};
use crate::probes::{counts, port, start, text, tuple};

/// The first two bytes of a message are its transaction's.
fn query(id: u8) -> Vec<u8> {
    [&[0, id][..], b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"].concat()
}

/// Waits for so many queries, then answers them, the last one first.
fn answer(server: &UdpSocket, queries: usize) {
    let mut bytes = [0; 64];
    let asked: Vec<_> = (0..queries)
        .map(|_| {
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            (bytes.get(..length).unwrap().to_vec(), from)
        })
        .collect();
    for (query, from) in asked.iter().rev() {
        server.send_to(query, from).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_answers_are_found_by_transaction_and_lost_ones_counted() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    start(&tracer, "dns-latency", &[("port", "53"), ("timeout_ms", "2000")]).await;
    let network = Network::new();
    network.run(|| {
        let four = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
        let six = UdpSocket::bind((Ipv6Addr::LOCALHOST, 53)).unwrap();
        // Not connected, and with two transactions at once.
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for id in [1, 2] {
            client.send_to(&query(id), four.local_addr().unwrap()).unwrap();
        }
        answer(&four, 2);
        let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        client.connect(six.local_addr().unwrap()).unwrap();
        client.send(&query(3)).unwrap();
        answer(&six, 1);
        // Another transaction's answer is none; and nobody is at the other address.
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.send_to(&query(4), four.local_addr().unwrap()).unwrap();
        four.send_to(&query(5), client.local_addr().unwrap()).unwrap();
        client.send_to(&query(6), (Ipv4Addr::new(127, 0, 0, 2), 53)).unwrap();
    });
    let seen = async || {
        let answered = counts(&tracer, "dns-latency", "answered_us").await;
        let lost = counts(&tracer, "dns-latency", "unanswered").await;
        let [here, here6, there] = ["127.0.0.1", "::1", "127.0.0.2"].map(text);
        assert!(answered.get(&here).is_none_or(|count| *count <= 2), "{answered:?}");
        answered == [(here.clone(), 2), (here6, 1)].into() && lost == [(here, 1), (there, 1)].into()
    };
    until("answers and lost queries are there", seen).await;
    let results = tracer.stop("dns-latency").await;
    assert!(results.maps.iter().all(|map| map.name != "sent"), "{:?}", results.maps);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_a_network_are_timed_from_stage_to_stage() {
    const PACKETS: u64 = 5;
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    let [client, router, server] = [(); 3].map(|()| Network::new());
    client.connect(("c0", "10.77.1.2/24"), &router, ("r1", "10.77.1.1/24"));
    server.connect(("s0", "10.77.2.2/24"), &router, ("r2", "10.77.2.1/24"));
    client.ip("route add default via 10.77.1.1");
    server.ip("route add default via 10.77.2.1");
    router.command("echo 1 > /proc/sys/net/ipv4/ip_forward");
    start(&tracer, "packet-latency", &[("network", "10.77.1.0"), ("prefix", "24")]).await;
    let socket = server.run(|| UdpSocket::bind("10.77.2.2:7777").unwrap());
    client.run(|| {
        let own = UdpSocket::bind("0.0.0.0:0").unwrap();
        (0..PACKETS).for_each(|_| assert_eq!(own.send_to(b"routed", "10.77.2.2:7777").unwrap(), 6));
    });
    // Of another network.
    server.run(|| {
        let other = UdpSocket::bind("10.77.2.2:0").unwrap();
        other.send_to(b"local", "10.77.2.2:7777").unwrap();
    });
    (0..=PACKETS).for_each(|_| assert!(socket.recv(&mut [0; 64]).unwrap() > 4));
    let held = async || counts(&tracer, "packet-latency", "held_us").await;
    // Each is in the queues of the client's and of the router's device.
    let passed = [(text("forwarded"), PACKETS), (text("queued"), 2 * PACKETS)].into();
    until("all datagrams are there", async || held().await == passed).await;
    let listener = server.run(|| TcpListener::bind("10.77.2.2:7777").unwrap());
    let mut stream = client.run(|| TcpStream::connect("10.77.2.2:7777").unwrap());
    stream.write_all(b"stream").unwrap();
    listener.accept().unwrap().0.read_exact(&mut [0; 6]).unwrap();
    until("what was read is there", async || held().await.get(&text("read")) == Some(&1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retransmissions_have_their_state_and_reason() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    start(&tracer, "tcp-retransmits", &[]).await;
    let network = Network::new();
    let listener = network.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let at = listener.local_addr().unwrap();
    let mut connected = network.run(move || TcpStream::connect(at).unwrap());
    let (accepted, _) = listener.accept().unwrap();
    // From now on, nothing arrives there, nor ever where nobody answers.
    network.command("nft 'add table t; add chain t c { type filter hook input priority 0; }'");
    let silent = SocketAddr::from(([127, 0, 0, 66], 4242));
    for port in [at.port(), silent.port()] {
        network.command(&format!("nft add rule t c tcp dport {port} drop"));
    }
    connected.write_all(b"nobody answers").unwrap();
    let dialling = thread::spawn(move || {
        network.run(move || TcpStream::connect_timeout(&silent, Duration::from_millis(1_500)).unwrap_err().kind())
    });
    let seen = async || {
        let again = counts(&tracer, "tcp-retransmits", "again").await;
        let has = |to: SocketAddr, state: &str, why: &str| {
            again.contains_key(&tuple([text(&to.ip().to_string()), port(to.port()), text(state), text(why)]))
        };
        let data = |why: &str| has(at, "established", why);
        has(silent, "syn-sent", "timeout") && data("probe") && data("timeout")
    };
    until("the segments are there", seen).await;
    assert_eq!(dialling.join().unwrap(), ErrorKind::TimedOut);
    drop((connected, accepted));
}
