//! A histogram's ranges by their numbers, as programs count them.

use crate::plan::buckets;
use crate::types::Aggregate;

/// A range: of numbers from the first up to, but without, the second; without one it has no end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first number in it.
    pub from: Option<i128>,
    /// The first number behind it.
    pub to: Option<i128>,
}

impl Range {
    /// The range of this number in a histogram; of what is no histogram, all numbers.
    pub fn of(aggregate: Aggregate, number: u64) -> Self {
        match aggregate {
            Aggregate::Log2 { bits } => Self::log2(bits, number),
            Aggregate::Linear { min, max, step } => Self::linear((min, max, step), number),
            _ => Self { from: None, to: None },
        }
    }

    fn log2(bits: u8, number: u64) -> Self {
        let Some(index) = number.checked_sub(1) else { return Self { from: None, to: Some(0) } };
        if index < 1 << bits {
            let only = i128::from(index);
            return Self { from: Some(only), to: Some(only + 1) };
        }
        let edge = |index: u64| {
            let (power, part) = ((index >> bits) - 1, index & ((1 << bits) - 1));
            i128::from((1 << bits) + part) << power
        };
        Self { from: Some(edge(index)), to: Some(edge(index + 1)) }
    }

    fn linear((min, max, step): (i64, i64, i64), number: u64) -> Self {
        let last = u64::from(buckets(Aggregate::Linear { min, max, step })).saturating_sub(2);
        let edge = |number: u64| i128::from(min) + i128::from(number) * i128::from(step);
        match number.checked_sub(1) {
            None => Self { from: None, to: Some(i128::from(min)) },
            Some(before) if number >= last => Self { from: Some(edge(before).min(i128::from(max))), to: None },
            Some(before) => Self { from: Some(edge(before)), to: Some(edge(number)) },
        }
    }
}

/// From the first to the last of ranges that have values, in order, also those between that have none.
pub(super) fn without_gaps(counts: &[(u64, u64)]) -> impl Iterator<Item = (u64, u64)> {
    let (first, last) = (counts.first().map_or(1, |(range, _)| *range), counts.last().map_or(0, |(range, _)| *range));
    let mut counts = counts.iter().peekable();
    (first..=last)
        .map(move |range| (range, counts.next_if(|(other, _)| *other == range).map_or(0, |(_, count)| *count)))
}
