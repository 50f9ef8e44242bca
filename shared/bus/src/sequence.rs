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

/// Publishers that a reader watches for gaps, one with several subjects once for each.
pub const PUBLISHERS_MAX: usize = 65_536;

/// How late a message may come, in numbers, and still be told from one that was read before.
///
/// An outbox has at most 64 messages under way. When a connection breaks among them, the server may get the later ones
/// first, from the client's own buffer, and the earlier ones when the outbox sends the batch again.
pub const WINDOW: u64 = u128::BITS as u64;

/// What a reader missed so far, over all publishers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gaps {
    /// Messages read, duplicates not counted.
    pub received: u64,
    /// Numbers that were jumped over and did not come late.
    pub missing: u64,
    /// Messages read twice, or later than the window of 128 numbers: those stay missing.
    pub duplicates: u64,
    /// Publishers that came back with another boot nonce.
    pub restarts: u64,
    /// Messages of publishers beyond the bound of [`PUBLISHERS_MAX`]: read, but not watched for gaps.
    pub unwatched: u64,
}

/// One life of a publisher, as a reader sees it: the window of RFC 6479, for loss instead of replay.
#[derive(Debug)]
struct Watched {
    boot_nonce: u64,
    latest: u64,
    /// Bit `n` is set when number `latest - n` was read.
    read: u128,
    /// Numbers below are no gap: the reader joined later.
    first: u64,
}

impl Watched {
    const fn new(boot_nonce: u64, sequence: u64, first: u64) -> Self {
        Self { boot_nonce, latest: sequence, read: 1, first }
    }

    /// Whether a message is new; `missing` is kept right.
    fn note(&mut self, sequence: u64, missing: &mut u64) -> bool {
        if sequence > self.latest {
            let ahead = sequence - self.latest;
            *missing = missing.saturating_add(ahead - 1);
            self.read = u32::try_from(ahead).ok().and_then(|ahead| self.read.checked_shl(ahead)).unwrap_or(0) | 1;
            self.latest = sequence;
            return true;
        }
        let behind = self.latest - sequence;
        let bit = if behind < WINDOW { 1_u128 << behind } else { 0 };
        let new = bit != 0 && self.read & bit == 0;
        if new {
            self.read |= bit;
            if sequence >= self.first {
                *missing -= 1;
            }
        }
        new
    }
}

/// Counts gaps on the reader's side.
///
/// What came before the first message of a publisher is not counted: the reader may have joined late.
/// Memory is one entry per subject and node, not per restart, for at most [`PUBLISHERS_MAX`] of them in all.
#[derive(Debug, Default)]
pub struct GapCounter {
    watched: BTreeMap<String, BTreeMap<NodeId, Watched>>,
    count: usize,
    gaps: Gaps,
}

impl GapCounter {
    /// Takes note of one message; whether it is new. Numbers are those of a publisher on one subject.
    pub fn note(&mut self, subject: &str, publisher: &PublisherId, sequence: u64) -> bool {
        let nonce = publisher.boot_nonce;
        let room = self.count < PUBLISHERS_MAX;
        let new = match self.watched.get_mut(subject).and_then(|nodes| nodes.get_mut(&publisher.node)) {
            Some(watched) if watched.boot_nonce == nonce => watched.note(sequence, &mut self.gaps.missing),
            Some(watched) => {
                // A new life numbers from 1, and this reader was there already.
                self.gaps.restarts += 1;
                self.gaps.missing = self.gaps.missing.saturating_add(sequence.saturating_sub(1));
                *watched = Watched::new(nonce, sequence, 1);
                true
            }
            None if !room => {
                self.gaps.unwatched += 1;
                true
            }
            None => {
                let nodes = self.watched.entry(subject.to_owned()).or_default();
                nodes.insert(publisher.node.clone(), Watched::new(nonce, sequence, sequence));
                self.count += 1;
                true
            }
        };
        *if new { &mut self.gaps.received } else { &mut self.gaps.duplicates } += 1;
        new
    }

    /// What was counted so far.
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }
}

/// Counts events by the numbers in their batches: a lost batch is as many lost events as it held.
///
/// For one subject, and a reader that was there before its first batch. Memory is one entry per life of a publisher.
#[derive(Debug, Default)]
pub struct EventCounter {
    lives: BTreeMap<PublisherId, Events>,
}

#[derive(Debug, Default)]
struct Events {
    received: u64,
    /// Number of the latest one.
    latest: u64,
}

impl EventCounter {
    /// Takes note of a batch that was not read before: the number of its first event, and how many it holds.
    pub fn note(&mut self, publisher: &PublisherId, first: u64, count: u64) {
        let events = self.lives.entry(publisher.clone()).or_default();
        events.received += count;
        events.latest = events.latest.max(first.saturating_add(count).saturating_sub(1));
    }

    /// Events that came.
    pub fn received(&self) -> u64 {
        self.lives.values().map(|events| events.received).sum()
    }

    /// Events that did not come, before the latest that did.
    pub fn missing(&self) -> u64 {
        self.lives.values().map(|events| events.latest.saturating_sub(events.received)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SUBJECT: &str = "s";

    fn publisher(boot_nonce: u64) -> PublisherId {
        PublisherId { node: NodeId::new("n").unwrap(), boot_nonce }
    }

    #[test]
    fn gaps_duplicates_and_restarts_are_told_apart() {
        let mut counter = GapCounter::default();
        for (nonce, sequence, new) in
            [(1, 5, true), (1, 6, true), (1, 9, true), (1, 9, false), (2, 2, true), (2, 3, true)]
        {
            assert_eq!(counter.note(SUBJECT, &publisher(nonce), sequence), new);
        }
        let expected = Gaps { received: 5, missing: 3, duplicates: 1, restarts: 1, unwatched: 0 };
        assert_eq!(counter.gaps(), expected);
    }

    #[test]
    fn each_subject_has_numbers_of_its_own_and_all_have_one_bound() {
        let mut counter = GapCounter::default();
        for subject in 0..=PUBLISHERS_MAX {
            assert!(counter.note(&subject.to_string(), &publisher(1), 1));
        }
        assert!(counter.note("0", &publisher(1), 3), "it is watched still");
        let expected = Gaps { received: PUBLISHERS_MAX as u64 + 2, missing: 1, unwatched: 1, ..Gaps::default() };
        assert_eq!(counter.gaps(), expected);
    }

    #[test]
    fn what_comes_late_is_read_and_not_missing() {
        let mut counter = GapCounter::default();
        for (sequence, new) in [(10, true), (14, true), (12, true), (12, false), (9, true), (300, true), (13, false)] {
            assert_eq!(counter.note(SUBJECT, &publisher(1), sequence), new, "{sequence}");
        }
        // 11 and 13 of the first jump, 15 to 299 of the second.
        assert_eq!(counter.gaps(), Gaps { received: 5, missing: 287, duplicates: 2, ..Gaps::default() });
    }

    proptest! {
        #[test]
        fn every_number_is_read_once_whatever_the_order_in_the_window(
            offsets in proptest::collection::vec((0_u64..600, 0_u64..WINDOW / 2), 1..400),
        ) {
            // Sorted by number and lateness together, no number is further behind the latest than the window.
            let mut order: Vec<_> = offsets.iter().map(|(number, late)| (number + late, number + 1)).collect();
            order.sort_unstable();
            let mut counter = GapCounter::default();
            let mut read = BTreeSet::new();
            counter.note(SUBJECT, &publisher(0), 1);
            for (_, number) in order {
                prop_assert_eq!(counter.note(SUBJECT, &publisher(1), number), read.insert(number));
            }
            let latest = read.last().copied().unwrap_or(0);
            prop_assert_eq!(counter.gaps().missing, latest - read.len() as u64);
        }
    }

    #[test]
    fn a_batch_that_is_lost_is_as_many_events_as_it_held() {
        let mut counter = EventCounter::default();
        counter.note(&publisher(1), 11, 5);
        assert_eq!((counter.received(), counter.missing()), (5, 10));
        counter.note(&publisher(1), 20, 1);
        counter.note(&publisher(1), 1, 10);
        assert_eq!((counter.received(), counter.missing()), (16, 4));
        counter.note(&publisher(2), 3, 2);
        assert_eq!((counter.received(), counter.missing()), (18, 6));
    }

    #[test]
    fn numbers_start_at_one() {
        let mut numbering = Numbering::default();
        assert_eq!([numbering.take(), numbering.take()], [1, 2]);
    }
}
