//! The outbox against a real nats-server that comes late, dies and comes back.

use futures::{FutureExt, StreamExt};
use synscope_bus::connection::Connection;
use synscope_bus::envelope::{self, PublisherId};
use synscope_bus::inbox::Inbox;
use synscope_bus::life::Life;
use synscope_bus::message::flow::{FlowBatch, FlowEvent};
use synscope_bus::outbox::{Counts, Outbox};
use synscope_bus::sequence::{EventCounter, GapCounter};
use synscope_bus::subject::Subject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::nats::{Server, free_port};
use crate::{DEADLINE, connect, connected, node};

fn publisher() -> PublisherId {
    PublisherId { node: node(), boot_nonce: 7 }
}

fn batch(lost: u64) -> FlowBatch {
    FlowBatch { node: "node-a".into(), lost, ..FlowBatch::default() }
}

/// A stream keeps what is published, so that a test need not race a subscription against the publisher.
async fn keep(connection: &Connection) {
    timeout(DEADLINE, connection.connected()).await.unwrap();
    let jetstream = async_nats::jetstream::new(connection.client().clone());
    let config = async_nats::jetstream::stream::Config {
        name: "kept".into(),
        subjects: vec!["synscope.flow.>".into()],
        ..Default::default()
    };
    jetstream.get_or_create_stream(config).await.unwrap();
}

/// A reader that outlives servers: what a killed server did not write to disk yet, it may have read before.
#[derive(Default)]
struct Reader {
    read: Vec<u64>,
    gaps: GapCounter,
}

/// Reads everything kept, in order, up to the message whose number is `last`.
async fn read(connection: &Connection, last: u64, reader: &mut Reader) {
    let jetstream = async_nats::jetstream::new(connection.client().clone());
    let stream = timeout(DEADLINE, async {
        loop {
            if let Ok(stream) = jetstream.get_stream("kept").await {
                return stream;
            }
        }
    });
    let stream = stream.await.unwrap();
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    while reader.read.last() != Some(&last) {
        let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap().unwrap();
        let headers = message.headers.as_ref().unwrap();
        let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
        let received = envelope::decode::<FlowBatch>(header, &message.payload).unwrap();
        if reader.gaps.note(&message.subject, &received.publisher, received.sequence) {
            reader.read.push(received.message.lost);
        }
    }
}

async fn sent(outbox: &Outbox, produced: u64) -> Counts {
    let all = async {
        loop {
            let counts = outbox.counts();
            if counts.sent + counts.dropped == produced {
                return counts;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, all).await.unwrap_or_else(|_| panic!("not all was sent: {:?}", outbox.counts()))
}

#[tokio::test]
async fn what_was_put_in_without_a_server_arrives_in_order_when_one_comes() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    drop({
        let server = Server::start(port, store.path());
        keep(&connect(port).await).await;
        server
    });

    let connection = connect(port).await;
    let outbox = Outbox::new(&Subject::Flow(node()), publisher(), 1 << 20);
    for number in 1..=500 {
        outbox.put(&batch(number)).unwrap();
    }
    assert!(!connection.is_connected());
    assert_eq!(outbox.counts(), Counts { produced: 500, waiting: 500, ..Counts::default() });

    let _server = Server::start(port, store.path());
    let counts = tokio::select! {
        Err(error) = outbox.send(&connection) => panic!("{error}"),
        counts = sent(&outbox, 500) => counts,
    };
    assert_eq!(counts, Counts { produced: 500, sent: 500, ..Counts::default() });
    let mut reader = Reader::default();
    read(&connection, 500, &mut reader).await;
    assert_eq!(reader.read, (1..=500).collect::<Vec<_>>());
    assert_eq!(reader.gaps.gaps().missing, 0);
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_oldest_first_and_both_ends_count_the_same() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let server = Server::start(port, store.path());
    let connection = connect(port).await;
    keep(&connection).await;
    let one = rmp_payload(&batch(1000));
    let outbox = Outbox::new(&Subject::Flow(node()), publisher(), 100 * one);

    // The reader knows the publisher before the loss begins.
    outbox.put(&batch(1000)).unwrap();
    tokio::select! {
        Err(error) = outbox.send(&connection) => panic!("{error}"),
        _ = sent(&outbox, 1) => {}
    }
    let mut reader = Reader::default();
    read(&connection, 1000, &mut reader).await;
    drop(server);
    for number in 1001..=1300 {
        outbox.put(&batch(number)).unwrap();
    }
    assert_eq!(outbox.counts(), Counts { produced: 301, sent: 1, dropped: 200, waiting: 100 });

    let _server = Server::start(port, store.path());
    tokio::select! {
        Err(error) = outbox.send(&connection) => panic!("{error}"),
        _ = sent(&outbox, 301) => {}
    }
    read(&connection, 1300, &mut reader).await;
    assert_eq!(reader.read, std::iter::once(1000).chain(1201..=1300).collect::<Vec<_>>());
    assert_eq!(reader.gaps.gaps().missing, outbox.counts().dropped);
}

/// What async-nats drops when a subscription is full, it tells nobody: only the numbers do.
#[tokio::test]
async fn a_reader_that_is_too_slow_counts_every_event_it_did_not_get() {
    const BATCHES: u64 = 200;
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let options = async_nats::ConnectOptions::new().subscription_capacity(8);
    let slow = options.connect(format!("127.0.0.1:{port}")).await.unwrap();
    let mut flows = slow.subscribe(Subject::Flow(node()).to_string()).await.unwrap();
    // An answer to what was asked after it: the server has the subscription.
    async_nats::jetstream::new(slow.clone()).query_account().await.unwrap();

    let outbox = Outbox::new(&Subject::Flow(node()), publisher(), 1 << 20);
    let mut produced = 0;
    let mut put = |events: u64| {
        let events = vec![FlowEvent::default(); usize::try_from(events).unwrap()];
        let batch = FlowBatch { node: "node-a".into(), first: produced + 1, events, lost: 0 };
        produced += batch.events.len() as u64;
        outbox.put(&batch).unwrap();
        produced
    };
    let reading = async {
        let (mut inbox, mut counter) = (Inbox::default(), EventCounter::default());
        for number in 1..=BATCHES {
            put(number % 5);
        }
        while slow.statistics().in_messages.load(std::sync::atomic::Ordering::Relaxed) < BATCHES {
            tokio::task::yield_now().await;
        }
        let mut note = |message: async_nats::Message, counter: &mut EventCounter| {
            let batch = inbox.read::<FlowBatch>(&message).unwrap();
            counter.note(&batch.publisher, batch.message.first, batch.message.events.len() as u64);
        };
        while let Some(message) = flows.next().now_or_never() {
            note(message.unwrap(), &mut counter);
        }
        // There is room now for one more, which shows the gap before it.
        let all = put(3);
        note(flows.next().await.unwrap(), &mut counter);
        (all, counter.received(), counter.missing())
    };
    let (all, received, missing) = tokio::select! {
        Err(error) = outbox.send(&connection) => panic!("{error}"),
        counted = timeout(DEADLINE, reading) => counted.unwrap(),
    };
    assert_eq!(received + missing, all);
    assert!(missing > 0 && received > 3, "{missing} of {all} were missing, {received} received");
}

fn rmp_payload(message: &FlowBatch) -> usize {
    envelope::encode(message, &publisher(), 1).unwrap().payload.len()
}

/// One message that the server never takes must not stop those behind it, stored or live.
#[tokio::test]
async fn what_is_larger_than_the_server_takes_is_dropped_counted_and_told() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let life = Life::begin("test", "node-a", connection.clone()).unwrap();
    let events = vec![FlowEvent { source: "x".repeat(connection.client().max_payload()), ..FlowEvent::default() }];
    let large = FlowBatch { events, ..batch(2) };
    for subject in [Subject::Flow(node()), Subject::Slow(node())] {
        let mut messages = connection.client().subscribe(subject.to_string()).await.unwrap();
        let outbox = Outbox::new(&subject, publisher(), 8 << 20);
        for message in [&batch(1), &large, &batch(3)] {
            outbox.put(message).unwrap();
        }
        life.send(&outbox);
        timeout(DEADLINE, outbox.empty()).await.unwrap();
        assert_eq!(outbox.counts(), Counts { produced: 3, sent: 2, dropped: 1, waiting: 0 });
        let trouble = outbox.trouble().unwrap();
        assert!(trouble.contains("a message was dropped") && trouble.contains("1048576"), "{trouble}");

        let mut inbox = Inbox::default();
        for lost in [1, 3] {
            let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
            assert_eq!(inbox.read::<FlowBatch>(&message).unwrap().message.lost, lost);
        }
        assert_eq!(inbox.counts().gaps.missing, 1);

        outbox.put(&batch(4)).unwrap();
        timeout(DEADLINE, outbox.empty()).await.unwrap();
        assert_eq!(outbox.trouble(), None);
    }
}

/// A server of 2.9 as far as we ask: Debian 12's own is one.
#[tokio::test]
async fn a_server_that_is_too_old_is_said_in_the_health() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = r#"INFO {"server_id":"OLD","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}"#;
        stream.write_all(format!("{info}\r\n").as_bytes()).await.unwrap();
        let mut buffer = [0; 4096];
        // CONNECT and PING come together or one after the other.
        while stream.read(&mut buffer).await.unwrap() > 0 {
            stream.write_all(b"PONG\r\n").await.unwrap();
        }
    });
    let connection = connected(port).await;
    let life = Life::begin("test", "node-a", connection).unwrap();
    let why = life.health().degradations.remove("nats-server").unwrap();
    assert!(why.contains("2.9.10") && why.contains("2.10 is needed"), "{why}");
    serving.abort();

    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, store.path());
    let connection = connected(port).await;
    let health = Life::begin("test", "node-a", connection).unwrap().health();
    assert!(health.nats_connected && health.degradations.is_empty(), "{health:?}");
}
