//! Reading a stream from its start or from some time ago, through lost connections, and through its being made anew.

use std::time::Duration;

use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::pull};
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::streams::Stream;

/// Between two attempts to read, and between two looks at whether the connection is still the same.
const AGAIN: Duration = Duration::from_millis(500);

/// What a reader has to tell.
#[derive(Debug)]
pub enum Told {
    /// It can be read, for the first time or again.
    Readable,
    /// A message, and when the server stored it, Unix ns by its clock.
    Message(async_nats::Message, u64),
    /// All that was there when it was first opened has been told; once.
    CaughtUp,
    /// It cannot be read just now, and why; it goes on trying.
    Unreadable(String),
}

/// A stream that is being read.
struct Open {
    messages: pull::Ordered,
    server: (String, u64),
    created: OffsetDateTime,
    /// The last number that is to be told of what was there then; 0 where there was nothing to tell.
    last: u64,
}

/// Reads one stream. What is read is never read again, unless the stream was made anew.
#[allow(missing_debug_implementations, reason = "the client's messages have none")]
pub struct Reader {
    connection: Connection,
    stream: Stream,
    since: Option<Duration>,
    open: Option<Open>,
    /// The stream's time of making, and the last number that was read.
    place: Option<(OffsetDateTime, u64)>,
    is_caught_up: bool,
}

impl Reader {
    /// Nothing read yet; it begins with what was stored so long ago, or with all there is.
    pub const fn new(connection: Connection, stream: Stream, since: Option<Duration>) -> Self {
        Self { connection, stream, since, open: None, place: None, is_caught_up: false }
    }

    /// What comes next; waits for it.
    pub async fn next(&mut self) -> Told {
        loop {
            let Some(open) = &mut self.open else {
                return match self.begin().await {
                    Ok(open) => {
                        self.open = Some(open);
                        Told::Readable
                    }
                    Err(error) => {
                        tokio::time::sleep(AGAIN).await;
                        Told::Unreadable(error.to_string())
                    }
                };
            };
            let read = self.place.map_or(0, |(_, last)| last);
            if !self.is_caught_up && read >= open.last {
                self.is_caught_up = true;
                return Told::CaughtUp;
            }
            // A consumer may outlive its server silently; another connection begins another one.
            if self.connection.life() != open.server {
                self.open = None;
                continue;
            }
            match timeout(AGAIN, open.messages.next()).await {
                Ok(Some(Ok(message))) => {
                    let Ok(info) = message.info() else { continue };
                    let stored_unix_ns = u64::try_from(info.published.unix_timestamp_nanos()).unwrap_or(0);
                    self.place = Some((open.created, info.stream_sequence));
                    if info.pending == 0 {
                        // What came after it has gone before it could be told.
                        open.last = open.last.min(info.stream_sequence);
                    }
                    return Told::Message(message.message, stored_unix_ns);
                }
                Ok(Some(Err(error))) => {
                    self.open = None;
                    tokio::time::sleep(AGAIN).await;
                    return Told::Unreadable(error.to_string());
                }
                Ok(None) => {
                    self.open = None;
                    tokio::time::sleep(AGAIN).await;
                }
                Err(_elapsed) => {}
            }
        }
    }

    async fn begin(&mut self) -> Result<Open, async_nats::Error> {
        self.connection.connected().await;
        let server = self.connection.life();
        let jetstream = jetstream::new(self.connection.client().clone());
        let mut stream = self.stream.ensure(&jetstream).await?;
        let info = stream.info().await?;
        let (created, last) = (info.created, info.state.last_sequence);
        let deliver_policy = match self.place {
            // What was made anew begins anew.
            Some((known, read)) if known == created => DeliverPolicy::ByStartSequence { start_sequence: read + 1 },
            _ => {
                self.place = None;
                self.since.map_or(DeliverPolicy::All, |since| DeliverPolicy::ByStartTime {
                    start_time: OffsetDateTime::now_utc() - since,
                })
            }
        };
        let config = pull::OrderedConfig { deliver_policy, ..pull::OrderedConfig::default() };
        let consumer = stream.create_consumer(config).await?;
        // Where all was too old, the last number is of a message that is not there, or not asked for.
        let last = if consumer.cached_info().num_pending == 0 { 0 } else { last };
        Ok(Open { messages: consumer.messages().await?, server, created, last })
    }
}
