//! Reading streams against a real nats-server that dies, comes back, and loses what it stored.

#![expect(clippy::disallowed_methods, reason = "what no outbox would send")]

use std::ops::RangeInclusive;
use std::time::Duration;

use async_nats::jetstream;
use synscope_bus::connection::Connection;
use synscope_bus::reader::{Reader, Told};
use synscope_bus::streams::Stream;
use synscope_bus::subject::Subject;
use tokio::time::timeout;

use crate::nats::{Server, free_port};
use crate::{DEADLINE, connected, node};

/// Stores numbers, and waits until the server has them.
async fn store(connection: &Connection, numbers: RangeInclusive<u64>) {
    let jetstream = jetstream::new(connection.client().clone());
    Stream::Signals.ensure(&jetstream).await.unwrap();
    let subject = Subject::Signal(node()).to_string();
    for number in numbers {
        jetstream.publish(subject.clone(), number.to_string().into()).await.unwrap().await.unwrap();
    }
}

/// What is told up to a number, or up to having caught up where it is 0; whether it caught up on the way.
async fn told(reader: &mut Reader, last: u64) -> (Vec<u64>, bool) {
    let (mut numbers, mut is_caught_up) = (Vec::new(), false);
    let reading = async {
        while if last == 0 { !is_caught_up } else { numbers.last() != Some(&last) } {
            match reader.next().await {
                Told::Message(message, stored_unix_ns) => {
                    assert!(stored_unix_ns > 0);
                    numbers.push(std::str::from_utf8(&message.payload).unwrap().parse().unwrap());
                }
                Told::CaughtUp => is_caught_up = true,
                Told::Readable | Told::Unreadable(_) => {}
            }
        }
    };
    timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("{last} is not told"));
    (numbers, is_caught_up)
}

#[tokio::test]
async fn it_goes_on_where_it_was_and_begins_anew_with_a_stream_that_was_made_anew() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let server = Server::start(port, folder.path());
    let connection = connected(port).await;
    store(&connection, 1..=5).await;
    let mut reader = Reader::new(connection.clone(), Stream::Signals, None);
    assert_eq!(told(&mut reader, 0).await, (vec![1, 2, 3, 4, 5], true));

    drop(server);
    let server = Server::start(port, folder.path());
    // The reader's own connection is cut as well; this one is sure to be to the new server.
    store(&connected(port).await, 6..=7).await;
    assert_eq!(told(&mut reader, 7).await, (vec![6, 7], false), "caught up is told once");

    drop(server);
    let emptied = tempfile::tempdir().unwrap();
    let _server = Server::start(port, emptied.path());
    store(&connected(port).await, 8..=9).await;
    assert_eq!(told(&mut reader, 9).await, (vec![8, 9], false));
}

#[tokio::test]
async fn it_has_caught_up_where_nothing_is_to_be_told() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, folder.path());
    let connection = connected(port).await;
    assert_eq!(told(&mut Reader::new(connection.clone(), Stream::Signals, None), 0).await, (vec![], true));
    store(&connection, 1..=3).await;
    // All is older than this.
    let mut late = Reader::new(connection.clone(), Stream::Signals, Some(Duration::ZERO));
    assert_eq!(told(&mut late, 0).await, (vec![], true));
    store(&connection, 4..=4).await;
    assert_eq!(told(&mut late, 4).await, (vec![4], false));
    let mut all = Reader::new(connection, Stream::Signals, Some(Duration::from_mins(1)));
    assert_eq!(told(&mut all, 0).await, (vec![1, 2, 3, 4], true));
}
