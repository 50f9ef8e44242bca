//! A number over time: as it came for the last hours, once a bucket for the rest of a day. Readings that say the same are
//! one stretch, so that what does not move costs nothing.

use std::collections::VecDeque;

use crate::scale::Scale;

/// Stretches that are remembered of either age.
const STRETCHES_MAX: usize = 9000;

/// What can be read again and again.
pub(crate) trait Reading: Copy + PartialEq {
    /// One reading for two, the second later.
    fn merged(self, later: Self) -> Self;
}

/// A counter: it counts on.
impl Reading for u64 {
    fn merged(self, later: Self) -> Self {
        later
    }
}

/// From the first reading to the last that said the same. Unix ns
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch<V> {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) value: V,
}

/// A number over time.
#[derive(Debug, Clone)]
pub(crate) struct Track<V> {
    old: VecDeque<Stretch<V>>,
    recent: VecDeque<Stretch<V>>,
}

impl<V> Default for Track<V> {
    fn default() -> Self {
        Self { old: VecDeque::new(), recent: VecDeque::new() }
    }
}

impl<V: Reading> Track<V> {
    /// Takes a reading, late or in order.
    pub(crate) fn add(&mut self, at: u64, value: V, scale: &Scale) {
        match self.recent.back_mut() {
            Some(last) if last.to >= at => self.add_late(at, value),
            Some(last) if last.value == value => last.to = at,
            _ => self.recent.push_back(Stretch { from: at, to: at, value }),
        }
        let latest = self.recent.back().map_or(0, |last| last.to);
        let is_old = |stretch: &Stretch<V>| stretch.to + scale.history_ns < latest;
        while self.recent.len() > STRETCHES_MAX || self.recent.front().is_some_and(is_old) {
            let Some(stretch) = self.recent.pop_front() else { break };
            match self.old.back_mut() {
                Some(last) if stretch.to - last.from < scale.bucket_ns => {
                    *last = Stretch { to: stretch.to, value: last.value.merged(stretch.value), ..*last };
                }
                _ => self.old.push_back(stretch),
            }
        }
        let is_too_old = |stretch: &Stretch<V>| stretch.to + scale.memory_ns < latest;
        while self.old.len() > STRETCHES_MAX || self.old.front().is_some_and(is_too_old) {
            self.old.pop_front();
        }
    }

    /// A reading between others; one of a time that is there already changes nothing.
    fn add_late(&mut self, at: u64, value: V) {
        let place = self.recent.partition_point(|stretch| stretch.to < at);
        if self.recent.get(place).is_some_and(|next| next.from <= at) || self.old.back().is_some_and(|old| old.to >= at)
        {
            return;
        }
        let is_before = place > 0 && self.recent.get(place - 1).is_some_and(|before| before.value == value);
        let is_next = self.recent.get(place).is_some_and(|next| next.value == value);
        let next_to = self.recent.get(place).map_or(at, |next| next.to);
        match (is_before, is_next) {
            (true, true) => {
                self.recent.remove(place);
                if let Some(before) = self.recent.get_mut(place - 1) {
                    before.to = next_to;
                }
            }
            (true, false) => {
                if let Some(before) = self.recent.get_mut(place - 1) {
                    before.to = at;
                }
            }
            (false, true) => {
                if let Some(next) = self.recent.get_mut(place) {
                    next.from = at;
                }
            }
            (false, false) => self.recent.insert(place, Stretch { from: at, to: at, value }),
        }
    }

    /// All stretches, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stretch<V>> {
        self.old.iter().chain(&self.recent)
    }

    /// When it was read last, Unix ns.
    pub(crate) fn latest(&self) -> Option<u64> {
        self.recent.back().or(self.old.back()).map(|last| last.to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    proptest! {
        #[test]
        fn the_order_of_readings_changes_nothing(steps in proptest::collection::vec(0_u64..3, 1..60), seed: u64) {
            let scale = Scale::new(1.0);
            let mut sum = 0;
            let mut readings: Vec<(u64, u64)> = (0_u64..).zip(&steps).map(|(at, step)| { sum += step; (at * S, sum) }).collect();
            let of = |readings: &[(u64, u64)]| {
                let mut track = Track::default();
                for (at, value) in readings {
                    track.add(*at, *value, &scale);
                    track.add(*at, *value, &scale);
                }
                track.iter().copied().collect::<Vec<Stretch<u64>>>()
            };
            let in_order = of(&readings);
            crate::random::Random(seed).shuffle(&mut readings);
            prop_assert_eq!(of(&readings), in_order);
        }
    }

    #[test]
    fn a_day_is_kept_of_what_moves_all_the_time() {
        let scale = Scale::new(1.0);
        let mut track = Track::default();
        for second in 0..2 * 86_400 {
            track.add(second * S, second, &scale);
        }
        let stretches: Vec<Stretch<u64>> = track.iter().copied().collect();
        let first = stretches[0];
        assert!((86_390..=86_410).contains(&(2 * 86_400 - first.value)), "{first:?}");
        assert!(stretches.windows(2).all(|pair| pair[1].value > pair[0].value && pair[1].from - pair[0].to <= 10 * S));
        assert!(stretches.len() <= 7201 + 7921, "{}", stretches.len());
    }
}
