//! Curated probes that are at processes and the kernel's deferred work.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use synscope_bus::snapshot::Value;

use crate::network::Network;
use crate::node::{Fleet, until};
use crate::probes::{counts, port, start, text, tuple};

#[tokio::test(flavor = "multi_thread")]
async fn deferred_work_is_timed_by_its_kind() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    start(&tracer, "softirq-time", &[]).await;
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = receiver.local_addr().unwrap();
    for map in ["ran_us", "waited_us"] {
        let seen = async || {
            sender.send_to(b"x", at).unwrap();
            receiver.recv(&mut [0; 8]).unwrap();
            let told = counts(&tracer, "softirq-time", map).await;
            assert!(told.keys().all(|kind| [text("net_rx"), text("net_tx")].contains(kind)), "{told:?}");
            told.get(&text("net_rx")).is_some_and(|count| *count >= 5)
        };
        until("packets were received", seen).await;
    }
    tracer.stop("softirq-time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_of_deferred_work_are_timed_if_asked() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    start(&tracer, "softirq-time", &[("all", "1")]).await;
    // Every CPU has its clock and RCU.
    let seen = async || {
        let ran = counts(&tracer, "softirq-time", "ran_us").await;
        ["timer", "rcu"].iter().all(|kind| ran.contains_key(&text(kind)))
    };
    until("timers ended", seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_packets_wake_are_timed_until_they_run() {
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    let own = std::process::id().to_string();
    start(&tracer, "run-queue-wait", &[("process", &own)]).await;
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = receiver.local_addr().unwrap();
    let echo = move || {
        let mut bytes = [0; 8];
        loop {
            let (length, from) = receiver.recv_from(&mut bytes).unwrap();
            if length == 0 {
                break;
            }
            receiver.send_to(b"back", from).unwrap();
        }
    };
    let echo = thread::Builder::new().name("echo-for-test".to_owned()).spawn(echo).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let seen = async || {
        sender.send_to(b"there", at).unwrap();
        sender.recv(&mut [0; 8]).unwrap();
        let waited = counts(&tracer, "run-queue-wait", "waited_us").await;
        waited.get(&text("echo-for-test")).is_some_and(|count| *count >= 5)
    };
    until("the thread was woken", seen).await;
    sender.send_to(b"", at).unwrap();
    echo.join().unwrap();
    tracer.stop("run-queue-wait").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_by_process_and_second() {
    const TIMES: u64 = 7;
    let fleet = Fleet::new().await;
    let tracer = fleet.tracer("node-a", &[]).await;
    start(&tracer, "new-connections", &[]).await;
    let network = Network::new();
    let at = network.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let dial = move || (0..TIMES).for_each(|_| drop(TcpStream::connect(at).unwrap()));
        thread::Builder::new().name("dialler".to_owned()).spawn(dial).unwrap().join().unwrap();
        at
    });
    let process = tuple([text("dialler"), Value::Number(u64::from(std::process::id()).into())]);
    let seen = async || {
        let opened = counts(&tracer, "new-connections", "opened").await;
        let arrived = counts(&tracer, "new-connections", "arrived").await;
        let most = counts(&tracer, "new-connections", "most_per_second").await;
        // They may lie on both sides of a second's end.
        let most = most.get(&process).is_some_and(|most| (TIMES.div_ceil(2)..=TIMES).contains(most));
        opened.get(&process) == Some(&TIMES) && arrived.get(&port(at.port())) == Some(&TIMES) && most
    };
    until("all connections are there", seen).await;
    let results = tracer.stop("new-connections").await;
    assert!(results.maps.iter().all(|map| map.name != "second"), "{:?}", results.maps);
}
