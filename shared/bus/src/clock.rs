//! How far the nodes' clocks are from each other, by the one clock that all of them speak to: the server's.

use std::collections::VecDeque;

/// Readings that one node's estimate rests on: one a second, so the last five minutes.
const WINDOW: u64 = 300;

/// One node's clock beside the server's.
///
/// A message tells when it was made, by the node's clock, and when it was stored, by the server's. The difference is the
/// clocks' distance and the time it took; the least of many took next to none (the idea of the clock filter of RFC 5905,
/// section 10). It orders what happened on different nodes; latencies are measured on one clock alone.
#[derive(Debug, Clone, Default)]
pub struct ClockOffset {
    /// Number and difference of the readings that may become the least, which is the first; the differences rise.
    candidates: VecDeque<(u64, i64)>,
    readings: u64,
}

impl ClockOffset {
    /// Takes a message's two times, Unix ns.
    pub fn add(&mut self, made_unix_ns: u64, stored_unix_ns: u64) {
        let difference = stored_unix_ns.wrapping_sub(made_unix_ns).cast_signed();
        while self.candidates.back().is_some_and(|(_, larger)| *larger >= difference) {
            self.candidates.pop_back();
        }
        self.candidates.push_back((self.readings, difference));
        self.readings += 1;
        while self.candidates.front().is_some_and(|(number, _)| number + WINDOW < self.readings) {
            self.candidates.pop_front();
        }
    }

    /// The server's time less the node's, ns; none before the first message.
    pub fn ns(&self) -> Option<i64> {
        self.candidates.front().map(|(_, difference)| *difference)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_late_message_is_no_distance_and_a_clock_that_was_set_shows() {
        let mut offset = ClockOffset::default();
        assert_eq!(offset.ns(), None);
        // The node is 3 s ahead; messages take 1 ms, and one waited for the server for a minute.
        for second in 100..200 {
            let took = if second == 150 { 60 * S } else { 1_000_000 };
            offset.add((second + 3) * S, second * S + took);
        }
        assert_eq!(offset.ns(), Some(-2_999_000_000));
        // Its clock is set right: the old readings are gone after the window.
        for second in 200..=500 {
            offset.add(second * S, second * S + 1_000_000);
        }
        assert_eq!(offset.ns(), Some(1_000_000));
    }

    proptest! {
        #[test]
        fn it_is_the_least_of_the_window(differences in proptest::collection::vec(-1000_i64..1000, 1..900)) {
            let mut offset = ClockOffset::default();
            for (number, difference) in differences.iter().enumerate() {
                offset.add(S, S.checked_add_signed(*difference).unwrap());
                let first = (number + 1).saturating_sub(usize::try_from(WINDOW).unwrap());
                prop_assert_eq!(offset.ns(), differences[first..=number].iter().min().copied());
            }
        }
    }
}
