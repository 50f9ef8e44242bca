//! The node's signals, on the real kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod netns;
mod pins;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData};
use netns::{Line, within};
use pins::Pins;
use socket2::{Domain, Socket, Type};
use synscope_bus::message::signal::{NodeSignals, Observed};
use synscope_datapath::signals::Sampler;

const DEADLINE: Duration = Duration::from_secs(20);

fn watched(line: &Line) -> Vec<String> {
    vec![format!("/run/netns/{}", line.client), format!("/run/netns/{}", line.server)]
}

fn inode(netns: &str) -> u64 {
    std::fs::metadata(format!("/run/netns/{netns}")).unwrap().ino()
}

fn nft(netns: &str, rules: &str) {
    let path = format!("--net=/run/netns/{netns}");
    let output = Command::new("nsenter").args([&path, "nft", rules]).output().expect("`nsenter` of util-linux");
    assert!(output.status.success(), "`nft` of nftables: {}", String::from_utf8_lossy(&output.stderr));
}

/// An LRU map with as many entries.
fn lru(name: &str, max: u32, entries: u32) -> HashMap<MapData, u32, u64> {
    const LRU_HASH: u32 = 9;
    let params = aya_obj::Map::new_from_params(LRU_HASH, 4, 8, max, 0);
    let map = Map::LruHashMap(MapData::create(params, name, None).unwrap());
    let mut map = HashMap::<MapData, u32, u64>::try_from(map).unwrap();
    for key in 0..entries {
        map.insert(key, 1, 0).unwrap();
    }
    map
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

#[test]
fn a_map_of_ciliums_name_is_found_with_its_fill() {
    let map = lru("cilium_ct4_global", 1000, 500);
    let pins = Pins::new("maps");
    map.pin(pins.0.join("cilium_ct4_global")).unwrap();
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

/// Made first, so that it comes first when maps are listed, and too large to be counted in one reading.
#[test]
fn a_large_map_holds_up_no_other_and_its_count_is_an_estimate() {
    const ENTRIES: u32 = 400_000;
    let large = lru("syn_t_large", ENTRIES * 2, ENTRIES);
    let small = lru("syn_t_small", 100, 7);
    let mut sampler = Sampler::new(Vec::new());
    let fills = |sampler: &mut Sampler| {
        let signals = sampler.sample(Vec::new());
        let maps = signals.maps.value().unwrap();
        let find = |name: &str| maps.iter().find(|map| map.name == name).cloned();
        (find("syn_t_large"), find("syn_t_small"))
    };
    let start = Instant::now();
    let first = loop {
        match fills(&mut sampler) {
            (large, Some(small)) => break (large, small),
            (..) => assert!(start.elapsed() < DEADLINE, "the small map is not counted"),
        }
    };
    assert!(first.0.is_none(), "the large map was counted through before the small one's turn came");
    assert_eq!((first.1.live, first.1.estimate), (7, false));
    let found = loop {
        match fills(&mut sampler).0 {
            Some(found) => break found,
            None => assert!(start.elapsed() < DEADLINE, "the large map is not counted"),
        }
    };
    assert_eq!((found.live, found.estimate), (u64::from(ENTRIES), true), "counted over several readings");
    drop((large, small));
}

#[test]
fn connections_tracked_in_a_namespace_are_its_own() {
    let line = Line::new("sigct");
    line.bridge();
    nft(&line.server, "table inet syn_t { chain track { type filter hook input priority 0; ct state new accept; }; }");
    let _listener = within(&line.server, || TcpListener::bind("10.9.0.2:80").unwrap());
    let connection = within(&line.client, || TcpStream::connect("10.9.0.2:80").unwrap());
    let signals = Sampler::new(watched(&line)).sample(Vec::new());
    let tables = signals.nf_conntrack.value().expect("nf_conntrack");
    let table = |netns: &str| tables.iter().find(|table| table.netns == inode(netns)).expect("the namespace");
    let tracked = table(&line.server);
    assert!(tracked.live > 0 && tracked.max > tracked.live, "{tracked:?}");
    assert_eq!(tracked.counters.get("drop"), Some(&0), "{tracked:?}");
    assert!(!tracked.counters.contains_key("entries"), "a gauge is no counter");
    assert_eq!(table(&line.client).live, 0, "nothing is tracked there");
    drop(connection);
}

#[test]
fn a_namespace_that_is_gone_disturbs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    std::fs::write(&gone, "").unwrap();
    let line = Line::new("siggone");
    let mut patterns = vec![gone.to_string_lossy().into_owned()];
    patterns.extend(watched(&line));
    let signals = Sampler::new(patterns).sample(Vec::new());
    let seen: Vec<u64> = signals.tcp.value().unwrap().iter().map(|counters| counters.netns).collect();
    assert_eq!(seen.len(), 3, "our own, the client's and the server's");
    assert!(seen.contains(&inode(&line.client)) && seen.contains(&inode(&line.server)));
}

#[test]
fn maps_that_may_not_be_listed_are_not_observed() {
    let mut sampler = Sampler::new(Vec::new());
    let signals = std::thread::scope(|scope| {
        let unprivileged = scope.spawn(|| {
            const NOBODY: libc::uid_t = 65534;
            // SAFETY: takes numbers only. The bare call changes this thread alone, which ends here.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) }, 0);
            sampler.sample(Vec::new())
        });
        unprivileged.join().unwrap()
    });
    assert!(matches!(&signals.maps, Observed::NotObserved { reason } if !reason.is_empty()), "{:?}", signals.maps);
    assert!(signals.softnet.value().is_some(), "what may be read is read");
}

#[test]
fn what_the_host_has_is_observed() {
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let signals = Sampler::new(Vec::new()).sample(Vec::new());
    assert!(signals.softnet.value().unwrap().processed > 0);
    assert!(signals.pressure.value().is_none_or(|pressure| pressure.contains_key("cpu")));
    assert!(!signals.tcp.value().unwrap().is_empty());
}
