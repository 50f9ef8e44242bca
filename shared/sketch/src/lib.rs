//! A mergeable latency sketch whose quantiles are off by at most 1 %.
//!
//! Buckets are log-linear: values below 128 ns have a bucket each; above, every power of two is cut
//! into 64 equal parts, so a bucket is at most 1/64 of its lower bound wide and its middle is off by
//! at most 1/128. Integers only: the same value falls into the same bucket on every machine.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
const LINEAR: u64 = 2 * SUB;
const LAST_BUCKET: u16 = 3775;

/// Counts per bucket of latency, sparse, sorted by bucket.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, try_from = "Wire", into = "Wire")]
#[schemars(with = "Wire")]
pub struct Sketch {
    /// Side by side, because sketches are mostly small and read from end to end. A count ends at 2^32 - 1: of an edge's
    /// connections, so many are years of one latency, and half the bytes are half the memory that is read.
    counts: Vec<(u16, u32)>,
}

/// What travels: two lists of equal length, sorted by bucket.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Sketch")]
struct Wire {
    /// Buckets with a count, ascending. Below 128 the latency in ns itself; from there on, with `s = bucket / 64 - 1`,
    /// the `2^s` latencies from `(bucket - 64 * s) * 2^s` on.
    buckets: Vec<u16>,
    /// How many latencies fell into each of them.
    counts: Vec<u64>,
}

/// Why what travelled is no sketch.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SketchError {
    /// The two lists differ in length.
    #[error("a sketch has as many counts as buckets, not {counts} for {buckets}")]
    Lengths {
        /// Buckets listed.
        buckets: usize,
        /// Counts listed.
        counts: usize,
    },
    /// A bucket no latency falls into.
    #[error("sketch bucket {0} is above the last one, {LAST_BUCKET}")]
    Bucket(u16),
}

impl Clone for Sketch {
    fn clone(&self) -> Self {
        Self { counts: self.counts.clone() }
    }

    /// In the memory that there is, if it is enough.
    fn clone_from(&mut self, other: &Self) {
        self.counts.clone_from(&other.counts);
    }
}

impl TryFrom<Wire> for Sketch {
    type Error = SketchError;

    fn try_from(wire: Wire) -> Result<Self, SketchError> {
        if wire.buckets.len() != wire.counts.len() {
            return Err(SketchError::Lengths { buckets: wire.buckets.len(), counts: wire.counts.len() });
        }
        let mut sketch = Self { counts: Vec::with_capacity(wire.buckets.len()) };
        for (bucket, count) in wire.buckets.into_iter().zip(wire.counts) {
            if bucket > LAST_BUCKET {
                return Err(SketchError::Bucket(bucket));
            }
            sketch.add(bucket, u32::try_from(count).unwrap_or(u32::MAX));
        }
        Ok(sketch)
    }
}

impl From<Sketch> for Wire {
    fn from(sketch: Sketch) -> Self {
        let (buckets, counts) = sketch.counts.into_iter().map(|(bucket, count)| (bucket, u64::from(count))).unzip();
        Self { buckets, counts }
    }
}

impl Sketch {
    /// Counts one latency, in ns.
    pub fn record(&mut self, latency_ns: u64) {
        self.add(bucket_of(latency_ns), 1);
    }

    /// Adds all that another sketch counted.
    pub fn merge(&mut self, other: &Self) {
        let mut from = 0;
        for (bucket, count) in &other.counts {
            from = self.add_from(from, *bucket, *count);
        }
    }

    /// Latencies counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The latency in ns that the share `per_mille` / 1000 of all do not exceed, off by at most 1 %;
    /// none when nothing was counted.
    pub fn quantile(&self, per_mille: u16) -> Option<u64> {
        if per_mille >= 1000 {
            return self.counts.last().map(|(bucket, _)| middle_of(*bucket));
        }
        // At most 3776 counts below 2^32: far from 2^64, a thousandfold too.
        let rank = (self.count() * u64::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(middle_of(*bucket));
            }
        }
        None
    }

    /// How many latencies are above this one, off by those within 1 % of it.
    pub fn count_above(&self, latency_ns: u64) -> u64 {
        let at_most = bucket_of(latency_ns);
        let above = self.counts.iter().rev().take_while(|(bucket, _)| *bucket > at_most);
        above.map(|(_, count)| u64::from(*count)).sum()
    }

    /// Latencies, off by at most 1 %, and how many there are of each; smallest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().map(|(bucket, count)| (middle_of(*bucket), u64::from(*count)))
    }

    /// Forgets half of what was counted.
    pub fn halve(&mut self) {
        self.counts.retain_mut(|(_, count)| {
            *count /= 2;
            *count > 0
        });
    }

    fn add(&mut self, bucket: u16, count: u32) {
        self.add_from(0, bucket, count);
    }

    /// Adds a count to a bucket that is not before the place `from`; its place.
    fn add_from(&mut self, from: usize, bucket: u16, count: u32) -> usize {
        if count == 0 {
            return from;
        }
        let later = self.counts.get(from..).unwrap_or_default();
        let place = from + later.partition_point(|(known, _)| *known < bucket);
        match self.counts.get_mut(place) {
            Some((known, sum)) if *known == bucket => *sum = sum.saturating_add(count),
            _ => self.counts.insert(place, (bucket, count)),
        }
        place
    }
}

fn bucket_of(value: u64) -> u16 {
    let index = if value < LINEAR {
        value
    } else {
        let shift = value.ilog2() - SUB_BITS;
        u64::from(shift) * SUB + (value >> shift)
    };
    // The largest is 57 * 64 + 127 = 3775.
    u16::try_from(index).unwrap_or(LAST_BUCKET)
}

fn middle_of(bucket: u16) -> u64 {
    let index = u64::from(bucket);
    if index < LINEAR {
        return index;
    }
    let shift = index / SUB - 1;
    let lower = (index - shift * SUB) << shift;
    lower + ((1 << shift) - 1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch_of(values: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        for value in values {
            sketch.record(*value);
        }
        sketch
    }

    #[test]
    fn the_largest_value_has_the_last_bucket() {
        assert_eq!(bucket_of(u64::MAX), LAST_BUCKET);
        assert_eq!(Sketch::default().quantile(500), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_off_by_at_most_one_percent(
            bits in prop::collection::vec((0_u32..64, any::<u64>()), 1..200),
            per_mille in 0_u16..=1000,
        ) {
            let mut values: Vec<u64> = bits.iter().map(|(shift, v)| v >> shift).collect();
            let found = sketch_of(&values).quantile(per_mille).unwrap();
            values.sort_unstable();
            let rank = (values.len() * usize::from(per_mille)).div_ceil(1000).max(1);
            let exact = values[rank - 1];
            prop_assert!(u128::from(found.abs_diff(exact)) * 100 <= u128::from(exact), "{found} for {exact}");
        }

        #[test]
        fn merging_equals_recording_together(a in prop::collection::vec(any::<u64>(), 0..50), b in prop::collection::vec(any::<u64>(), 0..50)) {
            let mut merged = sketch_of(&a);
            merged.merge(&sketch_of(&b));
            prop_assert_eq!(merged, sketch_of(&[a, b].concat()));
        }

        #[test]
        fn foreign_sketches_are_read_whole_or_refused(buckets in prop::collection::vec(0_u16..4000, 0..20), counts in prop::collection::vec(0..1_000_000_u64, 0..20)) {
            let whole = buckets.len() == counts.len() && buckets.iter().all(|bucket| *bucket <= LAST_BUCKET);
            let sum: u64 = counts.iter().sum();
            match Sketch::try_from(Wire { buckets, counts }) {
                Ok(sketch) => prop_assert!(whole && sketch.count() == sum),
                Err(_) => prop_assert!(!whole),
            }
        }

        #[test]
        fn a_sketch_survives_the_wire(values in prop::collection::vec(any::<u64>(), 0..50)) {
            let sketch = sketch_of(&values);
            let bytes = rmp_serde::to_vec_named(&sketch).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Sketch>(&bytes).unwrap(), sketch);
        }
    }
}
