//! What an edge was like: bucket by bucket of late, minute by minute before that.
//!
//! Ten thousand edges keep two thousand numbers of each kind, so a cell is small and holds no latencies but the largest.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use synscope_bus::message::edge::EdgeBucket;
use synscope_bus::message::incident::Point;

use crate::scale::Scale;

/// Buckets that are remembered: two hours of them, where there is one in every 10 s.
const FINE_MAX: usize = 720;
/// Minutes that are remembered before those: the rest of a day.
const COARSE_MAX: usize = 1320;
/// Buckets in a minute.
const COARSE: u64 = 6;
/// Later buckets beside those, which are put to them at once.
const RECENT_MAX: usize = 6;
/// The first bucket's number: late ones have lower numbers.
const FIRST: u32 = u32::MAX / 2;

/// What a bucket or a minute held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Buckets since the history's base.
    number: u32,
    /// Handshakes measured.
    pub(crate) n: u32,
    /// Slow ones, by the node's limit.
    pub(crate) slow: u32,
    /// Handshakes that never completed.
    pub(crate) failed: u32,
    /// SYNs sent again.
    retries: u32,
    /// Slow ones by what this edge is used to, and dropped SYNs.
    pub(crate) suffering: u32,
    /// The largest latency, µs, at least 1; 0 where nothing was measured.
    max_us: u32,
}

impl Cell {
    fn of(number: u32, part: &EdgeBucket) -> Self {
        let max_us = part.latency_ns.quantile(1000).map_or(0, |ns| narrow(ns / 1000).max(1));
        Self {
            number,
            n: narrow(part.n),
            slow: narrow(part.slow),
            failed: narrow(part.failed),
            retries: narrow(part.retries),
            suffering: 0,
            max_us,
        }
    }

    fn add(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.slow = self.slow.saturating_add(other.slow);
        self.failed = self.failed.saturating_add(other.failed);
        self.retries = self.retries.saturating_add(other.retries);
        self.suffering = self.suffering.saturating_add(other.suffering);
        self.max_us = self.max_us.max(other.max_us);
    }
}

/// One edge from one vantage, for a day.
#[derive(Debug, Clone)]
pub(crate) struct History {
    bucket_ns: u64,
    /// Number of the bucket that cells are counted from, in buckets since 1970; none before the first.
    base: Option<u64>,
    /// Number of the latest cell there is.
    latest: u32,
    /// A minute's cells, in place, later than all others: the rest is read and written once a minute, because ten thousand
    /// edges' days don't fit a cache.
    recent: ArrayVec<Cell, RECENT_MAX>,
    fine: VecDeque<Cell>,
    coarse: VecDeque<Cell>,
}

impl History {
    pub(crate) fn new(scale: &Scale) -> Self {
        Self {
            bucket_ns: scale.bucket_ns,
            base: None,
            latest: 0,
            recent: ArrayVec::new(),
            fine: VecDeque::new(),
            coarse: VecDeque::new(),
        }
    }

    /// Adds a part, in its own place. What its bucket held before, unless that is part of a minute by now.
    pub(crate) fn add(&mut self, part: &EdgeBucket) -> Cell {
        let bucket = part.start_unix_ns / self.bucket_ns;
        self.base.get_or_insert_with(|| bucket.saturating_sub(FIRST.into()));
        let cell = Cell::of(self.number(part.start_unix_ns), part);
        if let Some(known) = self.at(cell.number) {
            let before = *known;
            known.add(&cell);
            return before;
        }
        if self.recent.is_full() {
            self.settle();
        }
        if cell.number > self.latest || self.recent.first().is_some_and(|first| first.number < cell.number) {
            let place = self.recent.partition_point(|known| known.number < cell.number);
            self.recent.insert(place, cell);
            self.latest = self.latest.max(cell.number);
            return Cell::default();
        }
        let place = self.fine.partition_point(|known| known.number < cell.number);
        // Earlier than all buckets there are.
        if place == 0 && !self.coarse.is_empty() {
            self.add_coarse(cell);
        } else {
            self.fine.insert(place, cell);
            self.shrink();
        }
        Cell::default()
    }

    /// Notes how many suffered in a bucket that was judged.
    pub(crate) fn note_suffering(&mut self, start_unix_ns: u64, suffering: u64) {
        if let Some(cell) = self.at(self.number(start_unix_ns)) {
            cell.suffering = cell.suffering.saturating_add(narrow(suffering));
        }
    }

    /// The bucket of this number, as long as it is one by itself.
    fn at(&mut self, number: u32) -> Option<&mut Cell> {
        if number > self.latest {
            return None;
        }
        let is_recent = self.recent.first().is_some_and(|first| first.number <= number);
        let place = |cells: &[Cell]| cells.binary_search_by_key(&number, |cell| cell.number).ok();
        if is_recent {
            return place(&self.recent).and_then(|place| self.recent.get_mut(place));
        }
        let place = self.fine.binary_search_by_key(&number, |cell| cell.number).ok()?;
        self.fine.get_mut(place)
    }

    /// Puts the recent ones to the others.
    fn settle(&mut self) {
        for cell in self.recent.take() {
            push(&mut self.fine, cell, FINE_MAX + RECENT_MAX);
        }
        self.shrink();
    }

    /// Makes minutes of the oldest beyond the bound.
    fn shrink(&mut self) {
        while self.fine.len() > FINE_MAX
            && let Some(oldest) = self.fine.pop_front()
        {
            self.add_coarse(oldest);
        }
    }

    /// Handshakes in a window, measured ones and those that never completed; whole minutes where it is long ago.
    pub(crate) fn handshakes(&self, from_unix_ns: u64, to_unix_ns: u64) -> u64 {
        self.within(from_unix_ns, to_unix_ns).map(|cell| u64::from(cell.n) + u64::from(cell.failed)).sum()
    }

    /// SYNs sent again in a window; whole minutes where it is long ago.
    pub(crate) fn retries(&self, from_unix_ns: u64, to_unix_ns: u64) -> u64 {
        self.within(from_unix_ns, to_unix_ns).map(|cell| u64::from(cell.retries)).sum()
    }

    /// The picture of a window, oldest first; minutes where it is long ago.
    pub(crate) fn points(&self, from_unix_ns: u64, to_unix_ns: u64) -> Vec<Point> {
        let base = self.base.unwrap_or(0);
        let point = |cell: &Cell| Point {
            start_unix_ns: (base + u64::from(cell.number)) * self.bucket_ns,
            n: cell.n.into(),
            slow: cell.slow.into(),
            failed: cell.failed.into(),
            max_ns: (cell.max_us > 0).then(|| u64::from(cell.max_us) * 1000),
            table_per_mille: None,
        };
        self.within(from_unix_ns, to_unix_ns).map(point).collect()
    }

    fn within(&self, from_unix_ns: u64, to_unix_ns: u64) -> impl Iterator<Item = &Cell> {
        let (from, to) = (self.number(from_unix_ns), self.number(to_unix_ns.div_ceil(self.bucket_ns) * self.bucket_ns));
        let in_window = move |cells: &'_ VecDeque<Cell>| {
            cells.partition_point(|cell| cell.number < from)..cells.partition_point(|cell| cell.number < to)
        };
        let recent = self.recent.iter().filter(move |cell| (from..to).contains(&cell.number));
        self.coarse.range(in_window(&self.coarse)).chain(self.fine.range(in_window(&self.fine))).chain(recent)
    }

    fn number(&self, start_unix_ns: u64) -> u32 {
        narrow((start_unix_ns / self.bucket_ns).saturating_sub(self.base.unwrap_or(0)))
    }

    fn add_coarse(&mut self, cell: Cell) {
        let minute = (self.base.unwrap_or(0) + u64::from(cell.number)) / COARSE * COARSE;
        let cell = Cell { number: narrow(minute.saturating_sub(self.base.unwrap_or(0))), ..cell };
        // Mostly it is the last.
        let place = match self.coarse.back() {
            Some(last) if last.number == cell.number => self.coarse.len() - 1,
            _ => self.coarse.partition_point(|known| known.number < cell.number),
        };
        let minutes = self.coarse.len();
        match self.coarse.get_mut(place) {
            Some(known) if known.number == cell.number => known.add(&cell),
            _ if place == minutes => push(&mut self.coarse, cell, COARSE_MAX + 1),
            _ => self.coarse.insert(place, cell),
        }
        if self.coarse.len() > COARSE_MAX {
            self.coarse.pop_front();
        }
    }
}

/// Appends, and grows by half instead of twofold, and not beyond `max`.
fn push(cells: &mut VecDeque<Cell>, cell: Cell, max: usize) {
    if cells.len() == cells.capacity() {
        let more = (cells.len() / 2).clamp(4, max.saturating_sub(cells.len()).max(4));
        cells.reserve_exact(more);
    }
    cells.push_back(cell);
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_040 * S;

    fn part(start_unix_ns: u64, latency_ns: u64) -> EdgeBucket {
        let mut part = EdgeBucket { start_unix_ns, length_ns: 10 * S, n: 1, failed: 2, ..EdgeBucket::default() };
        part.latency_ns.record(latency_ns);
        part
    }

    #[test]
    fn a_day_is_kept_in_minutes_and_its_last_two_hours_in_buckets() {
        let mut history = History::new(&Scale::new(1.0));
        for bucket in 0..3 * 8640 {
            history.add(&part(START + bucket * 10 * S, 3_000_000));
        }
        let end = START + 3 * 86_400 * S;
        let points = history.points(0, u64::MAX - 20 * S);
        assert_eq!(points.len(), COARSE_MAX + FINE_MAX + RECENT_MAX);
        assert!(points.iter().rev().take(FINE_MAX).all(|point| point.n == 1 && point.max_ns.is_some()));
        assert!(points[1..COARSE_MAX].iter().all(|point| point.n == 6 && point.failed == 12));
        assert_eq!(history.handshakes(end - 7200 * S, end), 720 * 3);
        assert_eq!(history.handshakes(end - 86_400 * S, end), 8640 * 3);
        assert!(history.fine.capacity() <= FINE_MAX + RECENT_MAX + 4 && history.coarse.capacity() <= COARSE_MAX + 4);
        // One of long ago finds its minute.
        history.add(&part(end - 36_000 * S, 9_000_000));
        assert_eq!(history.handshakes(end - 36_000 * S, end - 35_940 * S), 21);
    }

    proptest! {
        #[test]
        fn the_order_of_parts_changes_nothing(mut buckets in proptest::collection::vec(0_u64..600, 1..80), seed: u64) {
            let of = |buckets: &[u64]| {
                let mut history = History::new(&Scale::new(1.0));
                // The first is the same, because it gives the base.
                history.add(&part(START, 1));
                for bucket in buckets {
                    history.add(&part(START + bucket * 10 * S, bucket * 1_000_000));
                }
                history.points(0, u64::MAX - 20 * S)
            };
            let in_order = of(&buckets);
            let mut random = crate::random::Random(seed);
            buckets.sort_by_cached_key(|_| random.draw());
            prop_assert_eq!(of(&buckets), in_order);
        }
    }
}
