//! A trace's maps as they stand on one node, and put together over nodes.
//!
//! What each node gathered is kept in the form that can be added up exactly: an average as total and count, a histogram
//! as the counts of its ranges, a series by intervals of the time of day. So the maps of several nodes, [merged](merge()) in any order and any grouping, are what
//! one node would have gathered that saw everything. Only plain values cannot be added up: they stand side by side.

mod merge;
mod series;
mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use merge::merge;
pub use value::{Number, Value};

/// A map as it stands on one node.
pub type Snapshot = Map<Value>;
/// A map over all nodes.
pub type Merged = Map<PerNode>;
/// A plain value of each node.
pub type PerNode = BTreeMap<String, Value>;

/// A map of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MapOf{V}")]
pub struct Map<V> {
    /// Its name without `@`; may be empty.
    pub name: String,
    /// What it holds.
    pub held: Held<V>,
    /// Entries that found no room in the message: what is here is less than there is.
    #[serde(default)]
    pub left_out: u64,
}

/// What a map holds. A key is there at most once; entries are in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(rename = "HeldOf{V}")]
pub enum Held<V> {
    /// Plain values.
    Values {
        /// They.
        entries: Vec<Entry<V>>,
    },
    /// How often.
    Count {
        /// How often, by key.
        entries: Vec<Entry<u64>>,
    },
    /// Sums.
    Sum {
        /// Sums, by key.
        entries: Vec<Entry<Number>>,
    },
    /// The smallest of all values.
    Min {
        /// The smallest, by key.
        entries: Vec<Entry<Number>>,
    },
    /// The largest of all values.
    Max {
        /// The largest, by key.
        entries: Vec<Entry<Number>>,
    },
    /// Averages.
    Average {
        /// What averages are made of, by key.
        entries: Vec<Entry<Mean>>,
    },
    /// Counts, averages and totals.
    Stats {
        /// They, by key.
        entries: Vec<Entry<Mean>>,
    },
    /// Histograms of ranges between powers of two, each of them cut in `2^bits` equal parts.
    Log2 {
        /// 0 to 5.
        bits: u8,
        /// Range 0 is all below zero, range `n` up to `2^bits` the number `n - 1` alone. Beyond, with `i = n - 1` and
        /// `p = (i >> bits) - 1`, a range has `2^p` numbers from `(2^bits + i % 2^bits) * 2^p` on.
        entries: Vec<Entry<Histogram>>,
    },
    /// Histograms of ranges of equal width.
    Linear {
        /// Where the first range begins.
        min: i64,
        /// Where the last range ends.
        max: i64,
        /// The width of a range.
        step: i64,
        /// Range 0 is all below `min`, range `n` begins at `min + (n - 1) * step`, the last is all from `max` on.
        entries: Vec<Entry<Histogram>>,
    },
    /// Values over time: one for each of the last intervals.
    Series {
        /// Nanoseconds of an interval. Each begins where the time since 1970 is a multiple of them.
        interval_ns: u64,
        /// How many intervals are kept: those that count back from the last one of all entries.
        intervals: u32,
        /// What became of several values in one interval.
        each: Each,
        /// Series, by key.
        entries: Vec<Entry<Series>>,
    },
    /// Something that this reader does not know yet.
    #[serde(other)]
    Unknown,
}

/// What becomes of several values in one interval of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// The last one stays.
    Last,
    /// They are added up.
    Sum,
    /// Their average: a series has their sum, and how many they are.
    Average,
    /// The smallest stays.
    Min,
    /// The largest stays.
    Max,
    /// Something that this reader does not know yet: such series are not added up.
    #[serde(other)]
    Unknown,
}

/// An entry of a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EntryOf{V}")]
pub struct Entry<V> {
    /// Its key; none in a map without keys, which has one entry at most.
    pub key: Option<Value>,
    /// Its value.
    pub value: V,
}

/// What an average is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Mean {
    /// The sum of all values.
    pub total: Number,
    /// How many there were.
    pub count: u64,
}

/// How many values lie in each range; ranges without any are not here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Histogram {
    /// Numbers of the ranges, ascending.
    pub ranges: Vec<u32>,
    /// How many values lie in each of them.
    pub counts: Vec<u64>,
}

/// What was gathered in each interval; intervals in which nothing was are not here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Series {
    /// When the intervals begin, in nanoseconds since 1970, ascending.
    pub start_unix_ns: Vec<u64>,
    /// The sum, or the one value that stays, of each of them.
    pub values: Vec<Number>,
    /// Of averages, how many values each is the sum of; of last values, when each came, in nanoseconds since 1970. Of
    /// others, nothing that counts.
    pub weights: Vec<u64>,
}

impl<V> Held<V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Values { entries } => entries.len(),
            Self::Count { entries } => entries.len(),
            Self::Sum { entries } | Self::Min { entries } | Self::Max { entries } => entries.len(),
            Self::Average { entries } | Self::Stats { entries } => entries.len(),
            Self::Log2 { entries, .. } | Self::Linear { entries, .. } => entries.len(),
            Self::Series { entries, .. } => entries.len(),
            Self::Unknown => 0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
