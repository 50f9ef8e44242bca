//! Maps as they travel.

use synscope_btf::{Kernel, Named};
use synscope_bus::snapshot::{Entry, Held, Histogram, Map, Mean, Number, Snapshot, Value};

use super::probes::{Curated, Names};
use crate::run::{self, Entries, Keyed};
use crate::types::Aggregate;

/// Bytes that all maps of one batch take at most; NATS takes no message of more than 1 MiB.
const BYTES_MAX: usize = 512 << 10;
/// Bytes of an entry beside its texts: names of fields and numbers.
const ENTRY: usize = 32;

/// How a trace's maps are told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    internal: Vec<String>,
    names: Vec<(Names, Vec<(i128, String)>)>,
}

impl Telling {
    /// As a curated probe says.
    pub(super) fn new(curated: Option<&Curated>) -> Self {
        let Some(curated) = curated else { return Self::default() };
        let named = |names: &Names| (names.clone(), constants(&names.enumeration));
        Self { internal: curated.internal.clone(), names: curated.names.iter().map(named).collect() }
    }

    /// The maps, largest entries first where there is no room for all.
    pub(super) fn told(&self, maps: &[run::Snapshot]) -> Vec<Snapshot> {
        let told: Vec<_> = maps.iter().filter(|map| !self.internal.contains(&map.name)).collect();
        let room = BYTES_MAX / told.len().max(1);
        told.into_iter().map(|map| self.map(map, room)).collect()
    }

    fn map(&self, map: &run::Snapshot, room: usize) -> Snapshot {
        let names: Vec<_> = self.names.iter().filter(|(names, _)| names.map == map.name).collect();
        let key = |key: &run::Value| {
            let mut key = value(key);
            for (names, constants) in &names {
                name(&mut key, names.part, constants);
            }
            key
        };
        let (held, left_out) = match &map.entries {
            Entries::Values(entries) => {
                let (entries, left_out) = entries_of(entries, room, key, value, size);
                (Held::Values { entries }, left_out)
            }
            Entries::Gathered(aggregate, entries) => {
                let number = |gathered: &run::Gathered| Number(gathered.total);
                let mean = |gathered: &run::Gathered| Mean { total: Number(gathered.total), count: gathered.count };
                match aggregate {
                    Aggregate::Average { .. } | Aggregate::Stats { .. } => {
                        let (entries, left_out) = entries_of(entries, room, key, mean, |_| 2 * ENTRY);
                        let is_average = matches!(aggregate, Aggregate::Average { .. });
                        (if is_average { Held::Average { entries } } else { Held::Stats { entries } }, left_out)
                    }
                    Aggregate::Count => {
                        let count = |gathered: &run::Gathered| u64::try_from(gathered.total).unwrap_or(0);
                        let (entries, left_out) = entries_of(entries, room, key, count, |_| 0);
                        (Held::Count { entries }, left_out)
                    }
                    _ => {
                        let (entries, left_out) = entries_of(entries, room, key, number, |_| 0);
                        let held = match aggregate {
                            Aggregate::Min { .. } => Held::Min { entries },
                            Aggregate::Max { .. } => Held::Max { entries },
                            _ => Held::Sum { entries },
                        };
                        (held, left_out)
                    }
                }
            }
            Entries::Histograms(aggregate, entries) => {
                let histogram = |ranges: &Vec<(u64, u64)>| {
                    let range = |(range, count): &(u64, u64)| (u32::try_from(*range).unwrap_or(u32::MAX), *count);
                    Histogram::new(ranges.iter().map(range))
                };
                let size = |histogram: &Histogram| 12 * histogram.ranges.len();
                let (entries, left_out) = entries_of(entries, room, key, histogram, size);
                let held = match *aggregate {
                    Aggregate::Linear { min, max, step } => Held::Linear { min, max, step, entries },
                    Aggregate::Log2 { bits } => Held::Log2 { bits, entries },
                    _ => Held::Unknown,
                };
                (held, left_out)
            }
        };
        Map { name: map.name.clone(), held, left_out }
    }
}

/// Entries with the largest values first come first, as long as there is room; how many found none.
fn entries_of<T, V>(
    entries: &Keyed<T>,
    room: usize,
    key: impl Fn(&run::Value) -> Value,
    value: impl Fn(&T) -> V,
    size_of: impl Fn(&V) -> usize,
) -> (Vec<Entry<V>>, u64) {
    let mut left = room;
    let mut told: Vec<Entry<V>> = Vec::with_capacity(entries.len());
    for (of, held) in entries.iter().rev() {
        let entry = Entry { key: of.as_ref().map(&key), value: value(held) };
        let bytes = ENTRY + entry.key.as_ref().map_or(0, size) + size_of(&entry.value);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => break,
        }
        told.push(entry);
    }
    let left_out = (entries.len() - told.len()) as u64;
    told.sort_by(|a, b| a.key.cmp(&b.key));
    (told, left_out)
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
        run::Value::Signed(number) => Value::Number((*number).into()),
        run::Value::Unsigned(number) => Value::Number((*number).into()),
        run::Value::Bool(value) => Value::Bool(*value),
        run::Value::Pointer(address) => Value::Text(format!("{address:#x}")),
        run::Value::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_no_text) => Value::Text(bytes.escape_ascii().to_string()),
        },
        run::Value::Bytes(bytes) => Value::Text(bytes.escape_ascii().to_string()),
        run::Value::Named { name: Some(name), .. } => Value::Text(name.clone()),
        run::Value::Named { number, name: None } => Value::Number((*number).into()),
        run::Value::Tuple(items) | run::Value::List(items) => Value::Tuple(items.iter().map(value).collect()),
        run::Value::Record(members) => {
            Value::Record(members.iter().map(|(name, member)| (name.clone(), value(member))).collect())
        }
    }
}

/// Puts a name in the place of a number.
fn name(key: &mut Value, part: usize, constants: &[(i128, String)]) {
    let place = match key {
        Value::Tuple(items) => items.get_mut(part),
        other => (part == 0).then_some(other),
    };
    if let Some(place) = place
        && let Value::Number(number) = place
        && let Some((_, name)) = constants.iter().find(|(constant, _)| *constant == number.0)
    {
        *place = Value::Text(name.clone());
    }
}

/// The constants of one of the kernel's enumerations; none where it has none of this name.
fn constants(enumeration: &str) -> Vec<(i128, String)> {
    let Ok(kernel) = Kernel::running() else { return Vec::new() };
    let Ok(found) = kernel.find(Named::Enum, enumeration) else { return Vec::new() };
    let Ok(values) = found.btf.enum_values(found.id) else { return Vec::new() };
    values.map(|constant| (constant.value, constant.name.to_owned())).collect()
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
    fn reasons_have_their_names() {
        let curated = super::super::probes::find("drops").unwrap();
        let telling = Telling::new(Some(&curated));
        let no_socket = constants("skb_drop_reason")
            .into_iter()
            .find_map(|(number, name)| (name == "SKB_DROP_REASON_NO_SOCKET").then_some(number))
            .unwrap();
        let key = |reason: i128| {
            let place = run::Value::Text(b"tcp_v4_rcv".to_vec());
            run::Value::Tuple(vec![run::Value::Unsigned(u64::try_from(reason).unwrap()), place])
        };
        let told = telling.told(&[counted([key(no_socket), key(9999)].into_iter())]);
        let named = |reason: Value| Value::Tuple(vec![reason, Value::Text("tcp_v4_rcv".into())]);
        let Held::Count { entries } = &told[0].held else { panic!("{told:?}") };
        assert_eq!(entries[0].key, Some(named(Value::Number(9999_u64.into()))));
        assert_eq!(entries[1].key, Some(named(Value::Text("SKB_DROP_REASON_NO_SOCKET".into()))));
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
