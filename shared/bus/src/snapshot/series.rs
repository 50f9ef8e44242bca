//! Series of several nodes as one: interval by interval.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;

use super::{Each, Entry, Number, Series};

/// The value of an interval, and its weight.
type Point = (Number, u64);

impl Series {
    /// Of points in any order: when an interval begins, its value and its weight.
    pub fn new(points: impl IntoIterator<Item = (u64, Number, u64)>) -> Self {
        let mut series = Self::default();
        let mut points: Vec<_> = points.into_iter().collect();
        points.sort_by_key(|(start, ..)| *start);
        for (start, value, weight) in points {
            series.start_unix_ns.push(start);
            series.values.push(value);
            series.weights.push(weight);
        }
        series
    }

    /// When each interval begins, its value and its weight; a weight that was not sent is none.
    pub fn points(&self) -> impl Iterator<Item = (u64, Number, u64)> {
        let weights = self.weights.iter().copied().chain(std::iter::repeat(0));
        let points = self.start_unix_ns.iter().copied().zip(self.values.iter().copied()).zip(weights);
        points.map(|((start, value), weight)| (start, value, weight))
    }

    pub(super) fn add(&mut self, other: &Self, each: Each) {
        let mut all: BTreeMap<u64, Point> = BTreeMap::new();
        for (start, value, weight) in self.points().chain(other.points()) {
            match all.entry(start) {
                Place::Vacant(place) => drop(place.insert((value, weight))),
                Place::Occupied(mut place) => {
                    let both = both(*place.get(), (value, weight), each);
                    *place.get_mut() = both;
                }
            }
        }
        *self = Self::new(all.into_iter().map(|(start, (value, weight))| (start, value, weight)));
    }
}

fn both(one: Point, other: Point, each: Each) -> Point {
    match each {
        // Of two that came at the same time, the larger one stays, so that the order of nodes does not matter.
        Each::Last => std::cmp::max_by_key(one, other, |(value, came)| (*came, *value)),
        Each::Sum | Each::Average => (Number(one.0.0.saturating_add(other.0.0)), one.1.saturating_add(other.1)),
        Each::Min => std::cmp::min_by_key(one, other, |(value, _)| *value),
        Each::Max => std::cmp::max_by_key(one, other, |(value, _)| *value),
        Each::Unknown => one,
    }
}

/// Leaves out what lies further back than so many intervals, counted from the last one of all entries.
pub(super) fn forget(entries: &mut [Entry<Series>], interval_ns: u64, intervals: u32) {
    let last = entries.iter().filter_map(|entry| entry.value.start_unix_ns.last()).max().copied().unwrap_or(0);
    let kept = interval_ns.saturating_mul(u64::from(intervals).saturating_sub(1));
    let first = last.saturating_sub(kept);
    for Entry { value, .. } in entries {
        if value.start_unix_ns.first().is_some_and(|start| *start < first) {
            *value = Series::new(value.points().filter(|(start, ..)| *start >= first).collect::<Vec<_>>());
        }
    }
}
