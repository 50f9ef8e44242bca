//! Messages on their way out: bounded, numbered, and counted.
//!
//! An outbox serves one subject, so that its numbers have no gaps for a reader of that subject alone. While no server
//! is there, messages wait; when they would take more than their bound, the oldest go, and are counted.
//!
//! Flushing the client says nothing about the server: a socket takes bytes for a while after its peer died. So each
//! batch is followed by a message to ourselves. A server handles one connection's messages in order, so when that one
//! is back, over the same connection, the batch had reached the server; if it is not, the batch is sent again with the
//! numbers it has.
//!
//! Reaching the server is not being stored: what a stream keeps is settled by the stream's own acknowledgement.
//!
//! A message larger than the server takes would never go and block those behind it: it is dropped, counted and told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::jetstream::context::PublishErrorKind as StoreErrorKind;
use async_nats::{HeaderMap, PublishError, Subscriber, header, jetstream};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::envelope::{self, Encoded, EnvelopeError, PublisherId};
use crate::message::Message;
use crate::reasons::reasons;
use crate::sequence::Numbering;
use crate::streams::{Stream, StreamError};
use crate::subject::Subject;

/// Messages between two round trips.
const BATCH: usize = 64;
/// How long a round trip may take before the batch is sent again.
const ROUND_TRIP: Duration = Duration::from_secs(2);
/// Between two attempts to store when the server has no stream for us.
const STORE_AGAIN: Duration = Duration::from_millis(500);

/// Why the outbox can't send any more.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// the client was closed
    #[error("the client was closed")]
    Closed,
    /// cannot subscribe to our own inbox
    #[error("cannot subscribe to our own inbox")]
    Inbox(#[from] async_nats::SubscribeError),
    /// cannot publish
    #[error("cannot publish")]
    Publish(#[from] PublishError),
}

/// What became of the messages; `produced` is the sum of the other three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "OutboxCounts")]
pub struct Counts {
    /// Messages put in.
    pub produced: u64,
    /// Messages that reached the server, or its disk where a stream keeps them.
    pub sent: u64,
    /// Messages that went to keep the bound, or were larger than the server takes.
    pub dropped: u64,
    /// Messages that wait.
    pub waiting: u64,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<(u64, Encoded)>,
    bytes: usize,
    numbering: Numbering,
    counts: Counts,
    trouble: Option<String>,
}

/// The messages for one subject.
#[derive(Debug)]
pub struct Outbox {
    subject: String,
    stream: Option<Stream>,
    publisher: PublisherId,
    bound_bytes: usize,
    state: Mutex<State>,
    filled: Notify,
    settled: Notify,
}

impl Outbox {
    /// An empty outbox that holds at most `bound_bytes` of payload.
    #[must_use]
    pub fn new(subject: &Subject, publisher: PublisherId, bound_bytes: usize) -> Arc<Self> {
        let (numbering, counts) = (Numbering::default(), Counts::default());
        let state = State { queue: VecDeque::new(), bytes: 0, numbering, counts, trouble: None };
        Arc::new(Self {
            subject: subject.to_string(),
            stream: Stream::of(subject),
            publisher,
            bound_bytes,
            state: Mutex::new(state),
            filled: Notify::new(),
            settled: Notify::new(),
        })
    }

    /// Puts a message in; it never waits. One larger than the bound is dropped and counted like any other.
    pub fn put<M: Message>(&self, message: &M) -> Result<(), EnvelopeError> {
        let mut state = self.state();
        let number = state.numbering.take();
        let encoded = envelope::encode(message, &self.publisher, number)?;
        state.bytes += encoded.payload.len();
        state.queue.push_back((number, encoded));
        state.counts.produced += 1;
        while state.bytes > self.bound_bytes {
            let Some((_, oldest)) = state.queue.pop_front() else { break };
            state.bytes -= oldest.payload.len();
            state.counts.dropped += 1;
        }
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { waiting: state.queue.len() as u64, ..state.counts }
    }

    /// The subject it serves.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Why a server that is there stores nothing, or did not take a message just now; none when all goes well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// Returns when nothing waits any more.
    pub async fn empty(&self) {
        while self.counts().waiting > 0 {
            self.settled.notified().await;
        }
    }

    /// Sends, until the future is dropped or the client is closed. A message may arrive twice, with one number.
    pub async fn send(&self, connection: &Connection) -> Result<Infallible, SendError> {
        match self.stream {
            Some(stream) => self.send_stored(connection, stream).await,
            None => self.send_live(connection).await,
        }
    }

    async fn send_live(&self, connection: &Connection) -> Result<Infallible, SendError> {
        let inbox = connection.client().new_inbox();
        let mut echo = connection.client().subscribe(inbox.clone()).await?;
        let mut round = 0_u64;
        loop {
            let (batch, last) = self.next_batch(connection).await;
            let life = connection.life();
            round += 1;
            let delivered = self.deliver(connection, batch, &inbox, &mut echo, round);
            match timeout(ROUND_TRIP, delivered).await {
                Ok(Ok(refused)) if connection.life() == life => self.settle(last, refused),
                Ok(Ok(_)) | Err(_) => tracing::debug!(subject = self.subject, "a batch is sent again"),
                // Publishing waits for a server; else it fails only when the client is no more.
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    async fn send_stored(&self, connection: &Connection, stream: Stream) -> Result<Infallible, SendError> {
        let jetstream = jetstream::new(connection.client().clone());
        let mut ensured = None;
        loop {
            let (batch, last) = self.next_batch(connection).await;
            let life = connection.life();
            // A server that was put in the place of another has no stream yet. Waiting for an error is not enough:
            // where somebody else subscribes, the message is taken, and nobody says that it was not stored.
            if ensured.as_ref() != Some(&life) {
                if let Err(error) = stream.ensure(&jetstream).await {
                    self.complain(&error);
                    tokio::time::sleep(STORE_AGAIN).await;
                    continue;
                }
                ensured = Some(life);
            }
            match timeout(ROUND_TRIP, self.store(&jetstream, batch)).await {
                Ok(Ok(refused)) => self.settle(last, refused),
                Ok(Err(error)) => {
                    tracing::debug!(subject = self.subject, %error, "a batch is stored again");
                    ensured = None;
                    tokio::time::sleep(STORE_AGAIN).await;
                }
                Err(_elapsed) => {
                    tracing::debug!(subject = self.subject, "a batch is stored again");
                    ensured = None;
                }
            }
        }
    }

    /// Waits for a server and for something to send; the number is the last message's.
    async fn next_batch(&self, connection: &Connection) -> (Vec<(u64, Encoded)>, u64) {
        loop {
            connection.connected().await;
            let batch: Vec<_> = self.state().queue.iter().take(BATCH).cloned().collect();
            if let Some((last, _)) = batch.last() {
                let last = *last;
                return (batch, last);
            }
            self.filled.notified().await;
        }
    }

    /// Publishes the batch and returns when the stream has it on disk, with why a message was refused, if one was. The
    /// server drops what it has already.
    async fn store(
        &self,
        jetstream: &jetstream::Context,
        batch: Vec<(u64, Encoded)>,
    ) -> Result<Option<String>, jetstream::context::PublishError> {
        let mut refused = None;
        let mut acknowledgements = Vec::with_capacity(batch.len());
        for (number, encoded) in batch {
            let mut headers = headers(encoded.headers);
            // Numbers are per subject, so the subject is part of the name.
            let id = format!("{}/{}/{number}", self.subject, self.publisher);
            headers.insert(header::NATS_MESSAGE_ID, id);
            match jetstream.publish_with_headers(self.subject.clone(), headers, encoded.payload).await {
                Ok(acknowledgement) => acknowledgements.push(acknowledgement),
                Err(error) if error.kind() == StoreErrorKind::MaxPayloadExceeded => {
                    refused = Some(self.refuse(number, &error));
                }
                Err(error) => return Err(error),
            }
        }
        for acknowledgement in acknowledgements {
            acknowledgement.await?;
        }
        Ok(refused)
    }

    /// Publishes the batch and returns when the message behind it is back, with why a message was refused, if one was.
    async fn deliver(
        &self,
        connection: &Connection,
        batch: Vec<(u64, Encoded)>,
        inbox: &str,
        echo: &mut Subscriber,
        round: u64,
    ) -> Result<Option<String>, SendError> {
        let client = connection.client();
        let mut refused = None;
        for (number, encoded) in batch {
            let headers = headers(encoded.headers);
            match client.publish_with_headers(self.subject.clone(), headers, encoded.payload).await {
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    refused = Some(self.refuse(number, &error));
                }
                published => published?,
            }
        }
        let mark = round.to_be_bytes();
        client.publish(inbox.to_owned(), mark.to_vec().into()).await?;
        // Echoes of rounds that were given up come first.
        while let Some(message) = echo.next().await {
            if message.payload.as_ref() == mark {
                return Ok(refused);
            }
        }
        Err(SendError::Closed)
    }

    /// Notes why nothing is stored, and logs it when it is news.
    fn complain(&self, error: &StreamError) {
        let why = format!("nothing is stored: {}", reasons(error));
        let mut state = self.state();
        if state.trouble.as_ref() != Some(&why) {
            tracing::warn!(subject = self.subject, why, "messages wait");
            state.trouble = Some(why);
        }
    }

    /// Takes out a message that is larger than the server takes, and says so.
    fn refuse(&self, number: u64, error: &(dyn Error + 'static)) -> String {
        let why = format!("a message was dropped: {}", reasons(error));
        tracing::warn!(subject = self.subject, number, why, "messages are lost");
        let mut state = self.state();
        if let Ok(place) = state.queue.binary_search_by_key(&number, |(number, _)| *number)
            && let Some((_, refused)) = state.queue.remove(place)
        {
            state.bytes -= refused.payload.len();
            state.counts.dropped += 1;
        }
        why
    }

    /// Takes out what was sent. What the bound took out meanwhile was sent all the same, and is counted as dropped:
    /// the smaller claim.
    fn settle(&self, last: u64, refused: Option<String>) {
        let mut state = self.state();
        state.trouble = refused;
        while state.queue.front().is_some_and(|(number, _)| *number <= last) {
            if let Some((_, sent)) = state.queue.pop_front() {
                state.bytes -= sent.payload.len();
                state.counts.sent += 1;
            }
        }
        drop(state);
        self.settled.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn headers(named: Vec<(&'static str, String)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in named {
        headers.insert(name, value);
    }
    headers
}
