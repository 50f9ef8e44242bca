//! What changes tables and ends agents, while real connections are opened, used and closed through them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod agent;
#[path = "../../../shared/bus/tests/nats/mod.rs"]
mod nats;
mod netns;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use agent::{Agent, DEADLINE, NODE, ready, status, until};
use aya::maps::{ArrayOfMaps, Map, MapData};
use futures::StreamExt;
use netns::within;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::{CURRENT, RETIRING};
use synscope_abi::tcp::State;
use synscope_bus::command::ask;
use synscope_bus::command::datapath::{ListConntrack, Status};
use synscope_bus::connection::Connection;
use synscope_bus::document::{Desired, Documents};
use synscope_bus::inbox::Inbox;
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::flow::FlowBatch;
use synscope_bus::subject::Wildcard;
use synscope_datapath::kernel::Table;
use tokio::time::timeout;

/// Connections that are held from the beginning to the end.
const HELD: usize = 200;
/// Between two connections of the load, and between two uses of a held one.
const PACE: Duration = Duration::from_millis(2);

/// Answers with what it is told, one thread per connection.
fn echo(listener: &TcpListener) {
    for accepted in listener.incoming() {
        let mut stream = accepted.unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                stream.write_all(bytes.get(..length).unwrap()).unwrap();
            }
        });
    }
}

/// Connects from this thread's namespace.
fn open() -> TcpStream {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([10, 9, 0, 2], 80)), DEADLINE).expect("it connects");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn talk(stream: &mut TcpStream) {
    stream.write_all(b"order").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("every connection answers");
    assert_eq!(&answer, b"order");
}

/// Connections that are opened, used and closed at a steady rate, beside those that are held and used.
struct Load {
    stop: Arc<AtomicBool>,
    opening: JoinHandle<u64>,
    holding: JoinHandle<Vec<TcpStream>>,
}

impl Load {
    fn start(client: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let opening = thread::spawn({
            let (client, stop) = (client.to_owned(), Arc::clone(&stop));
            move || {
                within(&client, || {
                    let mut opened = 0;
                    while !stop.load(Ordering::Relaxed) {
                        talk(&mut open());
                        opened += 1;
                        thread::sleep(PACE);
                    }
                    opened
                })
            }
        });
        let mut held = within(client, || (0..HELD).map(|_| open()).collect::<Vec<_>>());
        let holding = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                for stream in (0..HELD).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    talk(&mut held[stream]);
                    thread::sleep(PACE);
                }
                held
            }
        });
        Self { stop, opening, holding }
    }

    /// The held connections, and how many there have been in all.
    fn stop(self) -> (Vec<TcpStream>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let opened = self.opening.join().unwrap() + u64::try_from(HELD).unwrap();
        (self.holding.join().unwrap(), opened)
    }
}

/// Segments that a namespace's TCP has received and sent, those sent again included.
fn segments(netns: &str) -> [u64; 2] {
    let text = within(netns, || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let [received, sent, again] = ["InSegs", "OutSegs", "RetransSegs"].map(|wanted| {
        let at = names.split_whitespace().position(|name| name == wanted).unwrap();
        values.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap()
    });
    [received, sent + again]
}

/// Client ports of the connections that are in the table, established and measured.
async fn measured_ports(connection: &Connection) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    let mut query =
        ListConntrack { port: Some(80), state: Some("established".into()), limit: 1000, ..ListConntrack::default() };
    loop {
        let part = ask(connection, NODE, &query).await.unwrap();
        let measured = part.entries.iter().filter(|entry| entry.server_latency_ns.is_some());
        ports.extend(measured.map(|entry| entry.source_port));
        query.after = part.next;
        if query.after.is_none() {
            return ports;
        }
    }
}

/// What must hold of the table's counters, whatever was done to it.
fn nothing_lost(status: &Status, opened: u64) {
    let counters = &status.counters;
    for name in [
        "unmeasured_mid_stream",
        "untracked",
        "insert_failed_e2big",
        "insert_failed_enomem",
        "insert_failed_ebusy",
        "insert_failed_other",
        "move_failed",
        "dropped_table_full",
        "events_lost",
    ] {
        assert_eq!(counters[name], 0, "{name} of {counters:?}");
    }
    assert_eq!(counters["inserted"] - counters["inserted_v6"], opened, "each connection has had one entry");
}

/// Does something to the agent under load, and shows that nobody noticed.
async fn unnoticed(name: &str, act: impl AsyncFnOnce(&mut Agent, &Connection)) {
    let mut agent = Agent::new(name, "conntrack_entries = 200000");
    let (_nats, connection) = agent.nats().await;
    let listener = agent.server();
    thread::spawn(move || echo(&listener));
    agent.start();
    ready(&connection).await;

    let load = Load::start(&agent.line.client);
    act(&mut agent, &connection).await;
    let (mut held, opened) = load.stop();
    assert!(opened > 2 * u64::try_from(HELD).unwrap(), "it was no load: {opened}");

    held.iter_mut().for_each(talk);
    // Nothing was dropped between them. Whether anything was sent again tells less: a busy machine makes TCP do so.
    let segments = async || [segments(&agent.line.client), segments(&agent.line.server)];
    until("each side has received what the other has sent", segments, |[[to_client, from_client], server]| {
        *server == [*from_client, *to_client]
    })
    .await;
    let ports: BTreeSet<u16> = held.iter().map(|stream| stream.local_addr().unwrap().port()).collect();
    assert_eq!(measured_ports(&connection).await, ports, "in the table are the held connections, with their stamps");
    nothing_lost(&status(&connection).await, opened);
    talk(&mut agent.client());
    nothing_lost(&status(&connection).await, opened + 1);
    agent.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_resizes_under_load_are_not_noticed() {
    unnoticed("resizes", async |_, connection| {
        let documents = Documents::<Desired>::open(connection).await.unwrap();
        for round in 0..10 {
            let entries = if round % 2 == 0 { 400_000 + round } else { 200_000 + round };
            documents.put(NODE, &Desired { conntrack_entries: Some(entries) }).await.unwrap();
            let capacities = async || capacities(connection).await;
            until("the tables are resized", capacities, |max| max.iter().all(|max| *max == u64::from(entries))).await;
        }
        assert!(status(connection).await.counters["moved"] >= 10 * u64::try_from(HELD).unwrap());
    })
    .await;
}

/// Each death comes when the new table is in use, and has nearly everything still to get.
#[tokio::test(flavor = "multi_thread")]
async fn three_deaths_in_the_middle_of_a_resize_under_load_are_not_noticed() {
    unnoticed("deaths", async |agent, connection| {
        fill(agent, 100_000);
        let documents = Documents::<Desired>::open(connection).await.unwrap();
        for entries in 200_001..=200_003 {
            documents.put(NODE, &Desired { conntrack_entries: Some(entries) }).await.unwrap();
            wait_for("the new table is in use", || table(agent, CURRENT).1 == entries);
            agent.kill();
            assert!(RETIRING.iter().any(|slot| table(agent, *slot).1 > 1), "the resize was over already");
            agent.start();
            ready(connection).await;
            let capacities = async || capacities(connection).await;
            until("the tables are resized", capacities, |max| max.iter().all(|max| *max == u64::from(entries))).await;
        }
        assert!(table(agent, CURRENT).0.keys().count() > 100_000 + HELD, "all are in the table in use");
    })
    .await;
}

async fn capacities(connection: &Connection) -> Vec<u64> {
    status(connection).await.tables.into_iter().map(|table| table.max).collect()
}

/// The pinned IPv4 table in a slot, and its capacity.
fn table(agent: &Agent, slot: u32) -> (Table<4>, u32) {
    let slots = || Map::ArrayOfMaps(MapData::from_pin(agent.pins.join("FLOWS_V4")).unwrap());
    let table: MapData = ArrayOfMaps::try_from(slots()).unwrap().get(&slot, 0).unwrap();
    let capacity = table.info().unwrap().max_entries();
    (ArrayOfMaps::<_, Table<4>>::try_from(slots()).unwrap().get(&slot, 0).unwrap(), capacity)
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Entries that are not expired for a long time, straight into the pinned table.
fn fill(agent: &Agent, entries: u32) {
    let (mut table, _) = table(agent, CURRENT);
    let flow = Flow { last_seen_jiffies: u64::MAX, state: State::Established as u8, ..Flow::default() };
    for number in 0..entries {
        let (key, _) = FlowKey::canonical(number.to_be_bytes(), [10, 8, 0, 1], [1, 1], [2, 2], 6);
        table.insert(key, flow, 0).unwrap();
    }
}

/// Going through a large table takes much longer than an event may wait.
#[tokio::test(flavor = "multi_thread")]
async fn events_do_not_wait_for_a_walk_over_a_large_table() {
    let mut agent = Agent::new("walk", "conntrack_entries = 600000");
    let (_nats, connection) = agent.nats().await;
    let listener = agent.server();
    thread::spawn(move || echo(&listener));
    agent.start();
    ready(&connection).await;
    fill(&agent, 500_000);

    let mut flows = connection.client().subscribe(Wildcard::Flows.to_string()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let (mut inbox, mut events, mut longest_ns) = (Inbox::default(), 0_u32, 0);
            while !stop.load(Ordering::Relaxed) {
                let message = timeout(DEADLINE, flows.next()).await.expect("events go on").unwrap();
                let now_ns = unix_now_ns();
                for event in inbox.read::<FlowBatch>(&message).unwrap().message.events {
                    events += 1;
                    longest_ns = longest_ns.max(now_ns.saturating_sub(event.time_unix_ns));
                }
            }
            (events, Duration::from_nanos(longest_ns))
        }
    });
    let load = Load::start(&agent.line.client);
    let documents = Documents::<Desired>::open(&connection).await.unwrap();
    let mut walks = Vec::new();
    for entries in 600_001..=600_002 {
        let start = Instant::now();
        documents.put(NODE, &Desired { conntrack_entries: Some(entries) }).await.unwrap();
        wait_for("the table is resized", || {
            table(&agent, CURRENT).1 == entries && RETIRING.iter().all(|slot| table(&agent, *slot).1 == 1)
        });
        walks.push(start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let (events, longest) = watching.await.unwrap();
    load.stop();
    eprintln!("{events} events, the longest waited {longest:?}; walks took {walks:?}");
    let shortest = walks.into_iter().min().unwrap();
    assert!(events > 100 && longest < shortest / 2, "{events} events, {longest:?} beside a walk of {shortest:?}");
    agent.terminate();
}
