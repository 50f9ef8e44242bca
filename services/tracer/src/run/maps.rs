//! Maps as `print` shows them: entries by their values, the smallest first.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::histogram;
use super::value::{Value, word};
use crate::load::LoadedMap;
use crate::typed::{Held, Map};
use crate::types::{Aggregate, Type};

/// Entries of a map as bytes: keys, and values with one part for each CPU.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A histogram's ranges, and how many values each has.
type Ranges = Vec<(u64, u64)>;

/// Writes a map: the numbers are how many entries, counted from the largest, and what values are divided by; 0 for all
/// and for nothing.
pub(super) fn print(
    map: &Map,
    loaded: &LoadedMap,
    (top, divisor): (u64, u64),
    resolve: &mut dyn FnMut(Value) -> Value,
    out: &mut dyn Write,
) -> io::Result<()> {
    let entries = loaded.entries()?;
    match &map.value {
        Held::Values(ty) => values(map, ty, entries, (top, divisor), resolve, out),
        Held::Gathered(aggregate) if aggregate.is_histogram() => {
            histograms(map, *aggregate, loaded, entries, (top, divisor), resolve, out)
        }
        Held::Gathered(aggregate) => {
            let mut combined: Vec<(Vec<u8>, Gathered)> = entries
                .into_iter()
                .map(|(key, value)| (key, Gathered::of(*aggregate, loaded.per_cpu(&value))))
                .collect();
            combined.sort_by_key(|(_, gathered)| gathered.order(*aggregate));
            for (key, gathered) in last(combined, top) {
                name(map, &key, resolve, out)?;
                writeln!(out, ": {}", gathered.text(*aggregate, divisor))?;
            }
            // What has several numbers stands in a paragraph of its own.
            if matches!(aggregate, Aggregate::Average { .. } | Aggregate::Stats { .. }) {
                writeln!(out)?;
            }
            Ok(())
        }
    }
}

/// `@name` or `@name[key]`.
fn name(map: &Map, key: &[u8], resolve: &mut dyn FnMut(Value) -> Value, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "@{}", map.name)?;
    if let Some(ty) = &map.key {
        out.write_all(b"[")?;
        resolve(Value::decode(ty, key)).write_key(out)?;
        out.write_all(b"]")?;
    }
    Ok(())
}

/// The largest entries, which stand last.
fn last<T>(mut entries: Vec<T>, top: u64) -> Vec<T> {
    let top = usize::try_from(top).unwrap_or(usize::MAX);
    if top > 0 && entries.len() > top {
        entries.drain(..entries.len() - top);
    }
    entries
}

fn values(
    map: &Map,
    ty: &Type,
    entries: Entries,
    (top, divisor): (u64, u64),
    resolve: &mut dyn FnMut(Value) -> Value,
    out: &mut dyn Write,
) -> io::Result<()> {
    // A map without keys has its value from the start: a mark behind it tells whether one was put.
    let room = ty.room() as usize;
    let was_put = |value: &[u8]| map.key.is_some() || word(value, room) != 0;
    let entries = entries.into_iter().filter(|(_, value)| was_put(value));
    let mut decoded: Vec<(Value, Vec<u8>, Value)> = entries
        .map(|(key, value)| {
            let order = map.key.as_ref().map_or(Value::Unsigned(0), |ty| Value::decode(ty, &key));
            (order, key, Value::decode(ty, value.get(..room).unwrap_or_default()))
        })
        .collect();
    decoded.sort_by(|a, b| a.0.cmp(&b.0));
    if ty.is_integral() {
        decoded.sort_by(|a, b| a.2.cmp(&b.2));
    }
    let empty = decoded.is_empty();
    for (_, key, value) in last(decoded, top) {
        name(map, &key, resolve, out)?;
        out.write_all(b": ")?;
        let value = match value {
            Value::Signed(number) if divisor > 0 => Value::Signed(number / i64::try_from(divisor).unwrap_or(i64::MAX)),
            Value::Unsigned(number) if divisor > 0 => Value::Unsigned(number / divisor),
            other => other,
        };
        resolve(value).write(out)?;
        writeln!(out)?;
    }
    if empty { writeln!(out) } else { Ok(()) }
}

/// A histogram's entries by key: the counts of its ranges.
fn histograms(
    map: &Map,
    aggregate: Aggregate,
    loaded: &LoadedMap,
    entries: Entries,
    (top, divisor): (u64, u64),
    resolve: &mut dyn FnMut(Value) -> Value,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut by_key: BTreeMap<Vec<u8>, Ranges> = BTreeMap::new();
    for (key, value) in entries {
        let count = loaded.per_cpu(&value).map(|part| word(part, 0)).fold(0, u64::wrapping_add);
        let (key, bucket) = match &map.key {
            // The range stands behind the key.
            Some(ty) => {
                let room = ty.room() as usize;
                (key.get(..room).unwrap_or_default().to_vec(), word(&key, room))
            }
            None => (Vec::new(), key.first_chunk().map_or(0, |bytes| u64::from(u32::from_ne_bytes(*bytes)))),
        };
        by_key.entry(key).or_default().push((bucket, count));
    }
    let total = |counts: &[(u64, u64)]| counts.iter().map(|(_, count)| *count).fold(0, u64::wrapping_add);
    let mut all: Vec<(Vec<u8>, Ranges)> = by_key.into_iter().collect();
    if map.key.is_none() {
        all.retain(|(_, counts)| total(counts) > 0);
    }
    all.sort_by_key(|(_, counts)| total(counts));
    if all.is_empty() {
        return writeln!(out);
    }
    for (key, counts) in last(all, top) {
        name(map, &key, resolve, out)?;
        writeln!(out, ":")?;
        histogram::write(aggregate, &counts, divisor, out)?;
        writeln!(out)?;
    }
    Ok(())
}

/// What all CPUs gathered, put together.
struct Gathered {
    first: i128,
    count: u64,
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
        let mut all = Self { first: 0, count: 0 };
        for part in parts {
            let (first, count) = (number(part), word(part, 8));
            match aggregate {
                Aggregate::Min { .. } | Aggregate::Max { .. } => {
                    let beats = match aggregate {
                        Aggregate::Min { .. } => first < all.first,
                        _ => first > all.first,
                    };
                    if count > 0 && (all.count == 0 || beats) {
                        all.first = first;
                    }
                    all.count += u64::from(count > 0);
                }
                _ => {
                    all.first += first;
                    all.count += count;
                }
            }
        }
        all
    }

    fn average(&self) -> i128 {
        self.first / i128::from(self.count.max(1))
    }

    /// What entries are put in order by.
    fn order(&self, aggregate: Aggregate) -> i128 {
        match aggregate {
            Aggregate::Average { .. } | Aggregate::Stats { .. } => self.average(),
            _ => self.first,
        }
    }

    fn text(&self, aggregate: Aggregate, divisor: u64) -> String {
        let divisor = i128::from(divisor.max(1));
        match aggregate {
            Aggregate::Average { .. } => (self.average() / divisor).to_string(),
            Aggregate::Stats { .. } => {
                let (count, average, total) = (self.count, self.average() / divisor, self.first / divisor);
                format!("count {count}, average {average}, total {total}")
            }
            _ => (self.first / divisor).to_string(),
        }
    }
}
