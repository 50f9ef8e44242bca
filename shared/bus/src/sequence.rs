//! Numbers on messages, and what is missing between them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{envelope::PublisherId, subject::NodeId};

/// Numbers a publisher's messages, from 1.
#[derive(Debug, Default)]
pub struct Numbering {
    last: u64,
}

impl Numbering {
    /// The next message's number.
    pub fn take(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }
}

/// Nodes that a reader watches for gaps.
pub const PUBLISHERS_MAX: usize = 65_536;

/// What a reader missed so far, over all publishers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gaps {
    /// Messages read, duplicates not counted.
    pub received: u64,
    /// Numbers that were jumped over.
    pub missing: u64,
    /// Messages whose number was not above the latest: read twice, or late and already missing.
    pub duplicates: u64,
    /// Publishers that came back with another boot nonce.
    pub restarts: u64,
    /// Messages of nodes beyond the bound of [`PUBLISHERS_MAX`]: read, but not watched for gaps.
    pub unwatched: u64,
}

/// Counts gaps on the reader's side, for messages that keep their publisher's order.
///
/// What came before the first message of a publisher is not counted: the reader may have joined late.
/// Memory is one entry per node, not per restart, for at most [`PUBLISHERS_MAX`] nodes.
#[derive(Debug, Default)]
pub struct GapCounter {
    latest: BTreeMap<NodeId, (u64, u64)>,
    gaps: Gaps,
}

impl GapCounter {
    /// Takes note of one message; whether it is new.
    pub fn note(&mut self, publisher: &PublisherId, sequence: u64) -> bool {
        let nonce = publisher.boot_nonce;
        let room = self.latest.len() < PUBLISHERS_MAX;
        match self.latest.get_mut(&publisher.node) {
            Some((known, latest)) if *known == nonce => {
                if sequence <= *latest {
                    self.gaps.duplicates += 1;
                    return false;
                }
                self.gaps.missing = self.gaps.missing.saturating_add(sequence - *latest - 1);
                *latest = sequence;
            }
            Some(entry) => {
                // A new life numbers from 1, and this reader was there already.
                self.gaps.restarts += 1;
                let missing = sequence.saturating_sub(1);
                self.gaps.missing = self.gaps.missing.saturating_add(missing);
                *entry = (nonce, sequence);
            }
            None if !room => self.gaps.unwatched += 1,
            None => {
                self.latest.insert(publisher.node.clone(), (nonce, sequence));
            }
        }
        self.gaps.received += 1;
        true
    }

    /// What was counted so far.
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(boot_nonce: u64) -> PublisherId {
        PublisherId { node: NodeId::new("n").unwrap(), boot_nonce }
    }

    #[test]
    fn gaps_duplicates_and_restarts_are_told_apart() {
        let mut counter = GapCounter::default();
        for (nonce, sequence, new) in
            [(1, 5, true), (1, 6, true), (1, 9, true), (1, 9, false), (2, 2, true), (2, 3, true)]
        {
            assert_eq!(counter.note(&publisher(nonce), sequence), new);
        }
        let expected = Gaps { received: 5, missing: 3, duplicates: 1, restarts: 1, unwatched: 0 };
        assert_eq!(counter.gaps(), expected);
    }

    #[test]
    fn numbers_start_at_one() {
        let mut numbering = Numbering::default();
        assert_eq!([numbering.take(), numbering.take()], [1, 2]);
    }
}
