//! A map as it is now: keys and values typed, what CPUs gathered put together, nothing rounded.

use std::collections::BTreeMap;
use std::io;

use super::decode::{Decoder, word};
use super::series::{self, Point};
use super::value::Value;
use crate::load::LoadedMap;

use crate::typed::{Held, Map};
use crate::types::{Aggregate, Series, Type};

/// Entries of a map as bytes: keys, and values with one part for each CPU.
type Raw = Vec<(Vec<u8>, Vec<u8>)>;

/// A histogram's ranges that are not empty, by number ([`super::Range::of`] tells which they are), in order, with how many
/// values lie in each.
pub type Ranges = Vec<(u64, u64)>;

/// A map's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name without `@`; may be empty.
    pub name: String,
    /// Whether it has keys. One without has one entry, or none if nothing was put there.
    pub keyed: bool,
    /// What it holds.
    pub entries: Entries,
}

/// Keys with what belongs to them, in the order in which they are shown: by value, the smallest first.
pub type Keyed<T> = Vec<(Option<Value>, T)>;

/// What a map holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// Values that were put.
    Values(Keyed<Value>),
    /// What was gathered: counts, sums, averages, smallest and largest values.
    Gathered(Aggregate, Keyed<Gathered>),
    /// Histograms.
    Histograms(Aggregate, Keyed<Ranges>),
    /// Values over time, by interval, in order; keys are in order too.
    Series(Series, Keyed<Vec<Point>>),
}

/// What all CPUs gathered, put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gathered {
    /// The sum, the count, or the smallest or largest value.
    pub total: i128,
    /// Of averages and stats, how many values it is the sum of.
    pub count: u64,
}

impl Snapshot {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        match &self.entries {
            Entries::Values(entries) => entries.is_empty(),
            Entries::Gathered(_, entries) => entries.is_empty(),
            Entries::Histograms(_, entries) => entries.is_empty(),
            Entries::Series(_, entries) => entries.is_empty(),
        }
    }

    /// Of a map as it is now, and of its front.
    pub(super) fn read(
        map: &Map,
        loaded: &LoadedMap,
        front: Option<&LoadedMap>,
        decoder: Decoder<'_>,
    ) -> io::Result<Self> {
        let raw = front.map_or_else(|| loaded.entries(), |front| loaded.entries_with(front))?;
        let key = |bytes: &[u8]| map.key.as_ref().map(|ty| decoder.value(ty, bytes));
        let entries = match &map.value {
            Held::Values(ty) => Entries::Values(values(map, ty, raw, decoder)),
            Held::Gathered(Aggregate::Series(series)) => {
                let one = |(bytes, value): (Vec<u8>, Vec<u8>)| {
                    (parted(map.key.as_ref(), &bytes).0, Point::of(*series, loaded.per_cpu(&value)))
                };
                let all = series::of_keys(*series, raw.into_iter().map(one));
                let mut entries: Keyed<Vec<Point>> =
                    all.into_iter().map(|(bytes, points)| (key(&bytes), points)).collect();
                // One without keys is there from the start.
                entries.retain(|(key, points)| key.is_some() || !points.is_empty());
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Entries::Series(*series, entries)
            }
            Held::Gathered(aggregate) if aggregate.is_parted() => {
                let histograms = histograms(map.key.as_ref(), loaded, raw);
                let histograms = histograms.into_iter().map(|(bytes, ranges)| (key(&bytes), ranges));
                Entries::Histograms(*aggregate, histograms.collect())
            }
            Held::Gathered(aggregate) => {
                let together = |value: &[u8]| Gathered::of(*aggregate, loaded.per_cpu(value));
                let mut entries: Keyed<Gathered> =
                    raw.iter().map(|(bytes, value)| (key(bytes), together(value))).collect();
                // Counts and sums do not tell whether they are zero because nothing was gathered; the others do.
                entries.retain(|(_, gathered)| aggregate.room() == 8 || gathered.count > 0);
                entries.sort_by_key(|(_, gathered)| gathered.order(*aggregate));
                Entries::Gathered(*aggregate, entries)
            }
        };
        Ok(Self { name: map.name.clone(), keyed: map.key.is_some(), entries })
    }
}

fn values(map: &Map, ty: &Type, raw: Raw, decoder: Decoder<'_>) -> Keyed<Value> {
    // A map without keys has its value from the start: a mark behind it tells whether one was put.
    let room = ty.room() as usize;
    let was_put = |value: &[u8]| map.key.is_some() || word(value, room) != 0;
    let mut entries: Keyed<Value> = raw
        .into_iter()
        .filter(|(_, value)| was_put(value))
        .map(|(key, value)| {
            let key = map.key.as_ref().map(|ty| decoder.value(ty, &key));
            (key, decoder.value(ty, value.get(..room).unwrap_or_default()))
        })
        .collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    if ty.is_integral() {
        entries.sort_by(|a, b| a.1.cmp(&b.1));
    }
    entries
}

/// A key, and the number of the range or of the place in the ring of intervals that stands behind it.
fn parted(key_type: Option<&Type>, key: &[u8]) -> (Vec<u8>, u64) {
    match key_type {
        Some(ty) => {
            let room = ty.room() as usize;
            (key.get(..room).unwrap_or_default().to_vec(), word(key, room))
        }
        None => (Vec::new(), key.first_chunk().map_or(0, |bytes| u64::from(u32::from_ne_bytes(*bytes)))),
    }
}

/// Histograms by key: the counts of their ranges, the one with the fewest values first.
fn histograms(key_type: Option<&Type>, loaded: &LoadedMap, raw: Raw) -> Vec<(Vec<u8>, Ranges)> {
    let mut by_key: BTreeMap<Vec<u8>, Ranges> = BTreeMap::new();
    for (key, value) in raw {
        let count = loaded.per_cpu(&value).map(|part| word(part, 0)).fold(0, u64::wrapping_add);
        let (key, range) = parted(key_type, &key);
        let ranges = by_key.entry(key).or_default();
        if count > 0 {
            ranges.push((range, count));
        }
    }
    let mut all: Vec<_> = by_key.into_iter().collect();
    if key_type.is_none() {
        all.retain(|(_, ranges)| !ranges.is_empty());
    }
    for (_, ranges) in &mut all {
        ranges.sort_unstable();
    }
    all.sort_by_key(|(_, ranges)| ranges.iter().map(|(_, count)| *count).fold(0, u64::wrapping_add));
    all
}

impl Gathered {
    fn of<'v>(aggregate: Aggregate, parts: impl Iterator<Item = &'v [u8]>) -> Self {
        let signed = match aggregate {
            Aggregate::Sum { signed }
            | Aggregate::Average { signed }
            | Aggregate::Min { signed }
            | Aggregate::Max { signed }
            | Aggregate::Stats { signed } => signed,
            _ => false,
        };
        let number = |part: &[u8]| {
            let word = word(part, 0);
            if signed { i128::from(word.cast_signed()) } else { i128::from(word) }
        };
        let mut all = Self { total: 0, count: 0 };
        for part in parts {
            let (number, count) = (number(part), word(part, 8));
            match aggregate {
                Aggregate::Min { .. } | Aggregate::Max { .. } => {
                    let beats = match aggregate {
                        Aggregate::Min { .. } => number < all.total,
                        _ => number > all.total,
                    };
                    if count > 0 && (all.count == 0 || beats) {
                        all.total = number;
                    }
                    all.count += u64::from(count > 0);
                }
                _ => {
                    all.total += number;
                    all.count += count;
                }
            }
        }
        all
    }

    /// The sum by the count.
    pub fn average(&self) -> i128 {
        self.total / i128::from(self.count.max(1))
    }

    /// What entries are put in order by.
    fn order(&self, aggregate: Aggregate) -> i128 {
        match aggregate {
            Aggregate::Average { .. } | Aggregate::Stats { .. } => self.average(),
            _ => self.total,
        }
    }
}
