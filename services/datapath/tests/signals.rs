//! The node's signals, on the real kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod netns;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData};
use netns::{Line, within};
use socket2::{Domain, Socket, Type};
use synscope_bus::message::signal::NodeSignals;
use synscope_datapath::signals::Sampler;

const DEADLINE: Duration = Duration::from_secs(20);

fn watched(line: &Line) -> Vec<String> {
    vec![format!("/run/netns/{}", line.client), format!("/run/netns/{}", line.server)]
}

fn inode(netns: &str) -> u64 {
    std::fs::metadata(format!("/run/netns/{netns}")).unwrap().ino()
}

fn tcp(signals: &NodeSignals, netns: &str, name: &str) -> u64 {
    let namespaces = signals.tcp.value().expect("TCP counters");
    namespaces
        .iter()
        .find(|counters| counters.netns == inode(netns))
        .expect("the namespace")
        .counters
        .get(name)
        .copied()
        .unwrap_or(0)
}

#[test]
fn a_listen_queue_that_overflows_is_seen_in_its_namespace_alone() {
    let line = Line::new("sigq");
    line.bridge();
    let mut sampler = Sampler::new(watched(&line));
    let before = sampler.sample(Vec::new());
    let socket = within(&line.server, || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"10.9.0.2:80".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        socket.listen(1).unwrap();
        socket
    });
    let address = "10.9.0.2:80".parse().unwrap();
    let connects = within(&line.client, || {
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200));
        (0..5).map(connect).collect::<Vec<_>>()
    });
    assert!(connects.iter().any(Result::is_err));
    let after = sampler.sample(Vec::new());
    let rise = |netns: &str| tcp(&after, netns, "ListenOverflows") - tcp(&before, netns, "ListenOverflows");
    assert!(rise(&line.server) > 0);
    assert_eq!(rise(&line.client), 0);
    drop(socket);
}

#[test]
fn a_packet_for_a_closed_port_is_dropped_for_its_reason_in_its_namespace() {
    let line = Line::new("sigd");
    line.bridge();
    let mut sampler = Sampler::new(watched(&line));
    let refused = within(&line.client, || TcpStream::connect("10.9.0.2:81"));
    assert!(refused.is_err());
    let start = Instant::now();
    loop {
        let signals = sampler.sample(Vec::new());
        let drops = signals.drops.value().expect("drops are observed on this kernel");
        let found = drops.iter().find(|drops| drops.reason == "NO_SOCKET" && drops.netns == Some(inode(&line.server)));
        if let Some(found) = found {
            assert_eq!(found.interface.as_deref(), Some("eth0"));
            assert!(drops.iter().all(|drops| drops.reason != "NO_SOCKET" || drops.netns != Some(inode(&line.client))));
            return;
        }
        assert!(start.elapsed() < DEADLINE, "no NO_SOCKET drop: {drops:?}");
    }
}

struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the pins can be removed");
    }
}

#[test]
fn a_map_of_ciliums_name_is_found_with_its_fill() {
    const LRU_HASH: u32 = 9;
    let params = aya_obj::Map::new_from_params(LRU_HASH, 4, 8, 1000, 0);
    let map = Map::LruHashMap(MapData::create(params, "cilium_ct4_global", None).unwrap());
    let mut map = HashMap::<MapData, u32, u64>::try_from(map).unwrap();
    let pin = std::path::PathBuf::from(format!("/sys/fs/bpf/synscope-test-maps-{}", std::process::id()));
    std::fs::create_dir(&pin).unwrap();
    let _removed = Removed(pin.clone());
    for key in 0..500 {
        map.insert(key, 1, 0).unwrap();
    }
    map.pin(pin.join("cilium_ct4_global")).unwrap();
    let mut sampler = Sampler::new(Vec::new());
    let start = Instant::now();
    loop {
        let signals = sampler.sample(Vec::new());
        let maps = signals.maps.value().unwrap();
        if let Some(found) = maps.iter().find(|map| map.name == "cilium_ct4_global") {
            assert_eq!((found.live, found.max, found.kind.as_str()), (500, 1000, "lru_hash"));
            assert_eq!(found.owner.as_deref(), Some("cilium"));
            return;
        }
        assert!(start.elapsed() < DEADLINE);
    }
}

#[test]
fn what_the_host_has_is_observed() {
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let signals = Sampler::new(Vec::new()).sample(Vec::new());
    assert!(signals.softnet.value().unwrap().processed > 0);
    assert!(signals.pressure.value().is_none_or(|pressure| pressure.contains_key("cpu")));
    assert!(!signals.tcp.value().unwrap().is_empty());
}
