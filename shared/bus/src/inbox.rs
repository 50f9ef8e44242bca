//! Reading events: decoded, gaps counted, foreign messages counted and logged once.

use std::collections::BTreeSet;

use async_nats::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::{self, EnvelopeError, Received};
use crate::message::Message;
use crate::sequence::{GapCounter, Gaps};

/// Different complaints that are logged before only their count goes on.
const COMPLAINTS_MAX: usize = 64;

/// What a reader got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "InboxCounts")]
pub struct Counts {
    /// Numbers over all subjects.
    pub gaps: Gaps,
    /// Messages that were none of ours, or not whole.
    pub foreign: u64,
}

/// A reader of one kind of message.
#[derive(Debug, Default)]
pub struct Inbox {
    gaps: GapCounter,
    foreign: u64,
    complained: BTreeSet<String>,
}

impl Inbox {
    /// Reads a message; none when it is foreign, or was read before.
    pub fn read<M: Message>(&mut self, message: &async_nats::Message) -> Option<Received<M>> {
        let decoded = decode(message.headers.as_ref(), &message.payload);
        let checked = decoded.and_then(|received| {
            envelope::check_speaker(&message.subject, &received)?;
            Ok(received)
        });
        match checked {
            Ok(received) => {
                self.gaps.note(&message.subject, &received.publisher, received.sequence).then_some(received)
            }
            Err(error) => {
                self.complain(&message.subject, &error);
                None
            }
        }
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        Counts { gaps: self.gaps.gaps(), foreign: self.foreign }
    }

    fn complain(&mut self, subject: &str, error: &EnvelopeError) {
        self.foreign += 1;
        let complaint = format!("{subject}: {error}");
        if self.complained.len() < COMPLAINTS_MAX && self.complained.insert(complaint.clone()) {
            tracing::warn!(subject, error = error as &dyn std::error::Error, "a foreign message is ignored");
        }
    }
}

fn decode<M: Message>(headers: Option<&HeaderMap>, payload: &[u8]) -> Result<Received<M>, EnvelopeError> {
    let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(async_nats::HeaderValue::as_str);
    envelope::decode(header, payload)
}
