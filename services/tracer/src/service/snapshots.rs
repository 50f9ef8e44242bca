//! Maps as they travel.

use synscope_bus::snapshot::{Each, Entry, Held, Histogram, Map, Mean, Number, Series, Snapshot, Value};

use super::probes::Curated;
use crate::run::{self, Entries, Keyed};
use crate::types::{self, Aggregate};

/// Bytes that all maps of one batch take at most; NATS takes no message of more than 1 MiB.
const BYTES_MAX: usize = 512 << 10;
/// Bytes of an entry beside its texts: names of fields and numbers.
const ENTRY: usize = 32;
/// Bytes of a point of a series: three numbers.
const POINT: usize = 27;

/// How a trace's maps are told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    internal: Vec<String>,
}

impl Telling {
    /// As a curated probe says.
    pub(super) fn new(curated: Option<&Curated>) -> Self {
        Self { internal: curated.map(|curated| curated.internal.clone()).unwrap_or_default() }
    }

    /// The maps, largest entries first where there is no room for all.
    pub(super) fn told(&self, maps: &[run::Snapshot]) -> Vec<Snapshot> {
        let told: Vec<_> = maps.iter().filter(|map| !self.internal.contains(&map.name)).collect();
        let room = BYTES_MAX / told.len().max(1);
        told.into_iter().map(|map| told_map(map, room)).collect()
    }
}

fn told_map(map: &run::Snapshot, room: usize) -> Snapshot {
    let (held, left_out) = match &map.entries {
        Entries::Values(entries) => fit(entries, room, value, size, |entries| Held::Values { entries }),
        Entries::Gathered(aggregate, entries) => gathered(*aggregate, entries, room),
        Entries::Histograms(aggregate, entries) => {
            let size = |histogram: &Histogram| 12 * histogram.ranges.len();
            fit(
                entries,
                room,
                |ranges| histogram(ranges),
                size,
                |entries| match *aggregate {
                    Aggregate::Linear { min, max, step } => Held::Linear { min, max, step, entries },
                    Aggregate::Log2 { bits } => Held::Log2 { bits, entries },
                    _ => Held::Unknown,
                },
            )
        }
        Entries::Series(series, entries) => {
            let each = each(series.each);
            let size = |told: &Series| POINT * told.values.len();
            let told = |points: &Vec<run::Point>| told_series(*series, points);
            let (interval_ns, intervals) = (series.interval, series.intervals);
            fit(entries, room, told, size, |entries| Held::Series { interval_ns, intervals, each, entries })
        }
    };
    Map { name: map.name.clone(), held, left_out }
}

fn gathered(aggregate: Aggregate, entries: &Keyed<run::Gathered>, room: usize) -> (Held<Value>, u64) {
    let number = |gathered: &run::Gathered| Number(gathered.total);
    let mean = |gathered: &run::Gathered| Mean { total: Number(gathered.total), count: gathered.count };
    let count = |gathered: &run::Gathered| u64::try_from(gathered.total).unwrap_or(0);
    match aggregate {
        Aggregate::Count => fit(entries, room, count, |_| 0, |entries| Held::Count { entries }),
        Aggregate::Average { .. } => fit(entries, room, mean, |_| ENTRY, |entries| Held::Average { entries }),
        Aggregate::Stats { .. } => fit(entries, room, mean, |_| ENTRY, |entries| Held::Stats { entries }),
        Aggregate::Min { .. } => fit(entries, room, number, |_| 0, |entries| Held::Min { entries }),
        Aggregate::Max { .. } => fit(entries, room, number, |_| 0, |entries| Held::Max { entries }),
        _ => fit(entries, room, number, |_| 0, |entries| Held::Sum { entries }),
    }
}

fn each(of: types::Each) -> Each {
    match of {
        types::Each::Last => Each::Last,
        types::Each::Sum => Each::Sum,
        types::Each::Average => Each::Average,
        types::Each::Min => Each::Min,
        types::Each::Max => Each::Max,
    }
}

fn told_series(series: types::Series, points: &[run::Point]) -> Series {
    let point =
        |point: &run::Point| (point.interval.saturating_mul(series.interval), Number(point.total), point.weight);
    Series::new(points.iter().map(point))
}

fn histogram(ranges: &[(u64, u64)]) -> Histogram {
    let range = |(range, count): &(u64, u64)| (u32::try_from(*range).unwrap_or(u32::MAX), *count);
    Histogram::new(ranges.iter().map(range))
}

/// What a map holds, the entries with the largest values as long as there is room; how many found none.
fn fit<T, V>(
    entries: &Keyed<T>,
    room: usize,
    value_of: impl Fn(&T) -> V,
    size_of: impl Fn(&V) -> usize,
    hold: impl FnOnce(Vec<Entry<V>>) -> Held<Value>,
) -> (Held<Value>, u64) {
    let mut left = room;
    let mut told: Vec<Entry<V>> = Vec::with_capacity(entries.len());
    for (key, held) in entries.iter().rev() {
        let entry = Entry { key: key.as_ref().map(value), value: value_of(held) };
        let bytes = ENTRY + entry.key.as_ref().map_or(0, size) + size_of(&entry.value);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => break,
        }
        told.push(entry);
    }
    let left_out = (entries.len() - told.len()) as u64;
    told.sort_by(|a, b| a.key.cmp(&b.key));
    (hold(told), left_out)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Bool(_) => 1,
        Value::Number(_) => 9,
        Value::Text(text) => 5 + text.len(),
        Value::Tuple(items) => 5 + items.iter().map(size).sum::<usize>(),
        Value::Record(members) => 5 + members.iter().map(|(name, value)| 5 + name.len() + size(value)).sum::<usize>(),
    }
}

fn value(of: &run::Value) -> Value {
    match of {
        run::Value::Signed(number) | run::Value::Named { number, name: None } => Value::Number((*number).into()),
        run::Value::Unsigned(number) => Value::Number((*number).into()),
        run::Value::Bool(value) => Value::Bool(*value),
        run::Value::Pointer(address) => Value::Text(format!("{address:#x}")),
        run::Value::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_no_text) => Value::Text(bytes.escape_ascii().to_string()),
        },
        run::Value::Bytes(bytes) => Value::Text(bytes.escape_ascii().to_string()),
        run::Value::Named { name: Some(name), .. } => Value::Text(name.clone()),
        run::Value::Tuple(items) | run::Value::List(items) => Value::Tuple(items.iter().map(value).collect()),
        run::Value::Record(members) => {
            Value::Record(members.iter().map(|(name, member)| (name.clone(), value(member))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(keys: impl Iterator<Item = run::Value>) -> run::Snapshot {
        let entry = |(count, key)| (Some(key), run::Gathered { total: count, count: 0 });
        let entries = Entries::Gathered(Aggregate::Count, (0_i128..).zip(keys).map(entry).collect());
        run::Snapshot { name: "drops".into(), keyed: true, entries }
    }

    #[test]
    fn what_a_probe_only_needs_itself_is_not_told() {
        let curated = super::super::probes::find("connect-latency").unwrap();
        let own = run::Snapshot { name: "start".into(), ..counted(std::iter::once(run::Value::Pointer(1))) };
        assert_eq!(Telling::new(Some(&curated)).told(std::slice::from_ref(&own)), []);
        assert_eq!(Telling::default().told(&[own]).len(), 1);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_largest_are_kept() {
        let keys = (0..20_000_u64).map(|key| run::Value::Text(format!("{key:0>40}").into_bytes()));
        let told = Telling::default().told(&[counted(keys)]);
        let Held::Count { entries } = &told[0].held else { panic!("{told:?}") };
        assert_eq!(entries.len() as u64 + told[0].left_out, 20_000);
        assert!(told[0].left_out > 0 && entries.iter().any(|entry| entry.value == 19_999), "{}", entries.len());
        let bytes = rmp_serde_length(&told);
        assert!(bytes < BYTES_MAX, "{bytes}");
    }

    /// JSON is longer than what travels.
    fn rmp_serde_length(maps: &[Snapshot]) -> usize {
        serde_json::to_vec(maps).unwrap().len() * 3 / 4
    }
}
