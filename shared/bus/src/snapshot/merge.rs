//! Maps of several nodes as one.

use std::collections::BTreeMap;
use std::iter;

use super::{Each, Entry, Held, Histogram, Map, Mean, Merged, Number, PerNode, Snapshot, Value, series};

/// What must be alike for two maps to be merged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Values,
    Count,
    Sum,
    Min,
    Max,
    Average,
    Stats,
    Log2(u8),
    Linear(i64, i64, i64),
    Series(u64, u32, Each),
    Unknown,
}

impl<V> Held<V> {
    const fn shape(&self) -> Shape {
        match self {
            Self::Values { .. } => Shape::Values,
            Self::Count { .. } => Shape::Count,
            Self::Sum { .. } => Shape::Sum,
            Self::Min { .. } => Shape::Min,
            Self::Max { .. } => Shape::Max,
            Self::Average { .. } => Shape::Average,
            Self::Stats { .. } => Shape::Stats,
            Self::Log2 { bits, .. } => Shape::Log2(*bits),
            Self::Linear { min, max, step, .. } => Shape::Linear(*min, *max, *step),
            Self::Series { interval_ns, intervals, each, .. } => Shape::Series(*interval_ns, *intervals, *each),
            Self::Unknown => Shape::Unknown,
        }
    }
}

impl Snapshot {
    /// The same, as what one node adds to a map over all.
    pub fn of_node(self, node: &str) -> Merged {
        let per_node = |Entry { key, value }: Entry<Value>| Entry { key, value: [(node.to_owned(), value)].into() };
        let held = match self.held {
            Held::Values { entries } => Held::Values { entries: sorted(entries.into_iter().map(per_node).collect()) },
            Held::Count { entries } => Held::Count { entries: sorted(entries) },
            Held::Sum { entries } => Held::Sum { entries: sorted(entries) },
            Held::Min { entries } => Held::Min { entries: sorted(entries) },
            Held::Max { entries } => Held::Max { entries: sorted(entries) },
            Held::Average { entries } => Held::Average { entries: sorted(entries) },
            Held::Stats { entries } => Held::Stats { entries: sorted(entries) },
            Held::Log2 { bits, entries } => Held::Log2 { bits, entries: sorted(entries) },
            Held::Linear { min, max, step, entries } => Held::Linear { min, max, step, entries: sorted(entries) },
            Held::Series { interval_ns, intervals, each, entries } => {
                Held::Series { interval_ns, intervals, each, entries: sorted(entries) }
            }
            Held::Unknown => Held::Unknown,
        };
        Map { name: self.name, held, left_out: self.left_out }
    }
}

fn sorted<V>(mut entries: Vec<Entry<V>>) -> Vec<Entry<V>> {
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

/// Maps of one name and one kind become one; the answer is in the order of their names. Two nodes whose maps of one name
/// are of different kinds, as their kernels' types may differ, have both.
pub fn merge(maps: impl IntoIterator<Item = Merged>) -> Vec<Merged> {
    let mut alike: BTreeMap<(String, Shape), Vec<Merged>> = BTreeMap::new();
    for map in maps {
        alike.entry((map.name.clone(), map.held.shape())).or_default().push(map);
    }
    alike.into_values().filter_map(all).collect()
}

/// Two by two, again and again: one after the other, what the first adds would be gone through as often as there are nodes.
fn all(mut maps: Vec<Merged>) -> Option<Merged> {
    while maps.len() > 1 {
        let mut rest = maps.into_iter();
        let two = || {
            let one = rest.next()?;
            Some(match rest.next() {
                Some(other) => both(one, other),
                None => one,
            })
        };
        maps = iter::from_fn(two).collect();
    }
    maps.pop()
}

fn both(one: Merged, other: Merged) -> Merged {
    let left_out = one.left_out.saturating_add(other.left_out);
    Map { held: held(one.held, other.held), left_out, name: one.name }
}

/// Both as one. They are of one shape.
fn held(one: Held<PerNode>, other: Held<PerNode>) -> Held<PerNode> {
    use Held::{Average, Count, Linear, Log2, Max, Min, Series, Stats, Sum, Values};
    match (one, other) {
        (Values { entries: a }, Values { entries: b }) => {
            Values { entries: join(a, b, |one, mut other| one.append(&mut other)) }
        }
        (Count { entries: a }, Count { entries: b }) => {
            Count { entries: join(a, b, |one, other| *one = one.saturating_add(other)) }
        }
        (Sum { entries: a }, Sum { entries: b }) => Sum { entries: join(a, b, Number::add) },
        (Min { entries: a }, Min { entries: b }) => Min { entries: join(a, b, |one, other| *one = other.min(*one)) },
        (Max { entries: a }, Max { entries: b }) => Max { entries: join(a, b, |one, other| *one = other.max(*one)) },
        (Average { entries: a }, Average { entries: b }) => Average { entries: join(a, b, Mean::add) },
        (Stats { entries: a }, Stats { entries: b }) => Stats { entries: join(a, b, Mean::add) },
        (Log2 { bits, entries: a }, Log2 { entries: b, .. }) => Log2 { bits, entries: join(a, b, Histogram::add) },
        (Linear { min, max, step, entries: a }, Linear { entries: b, .. }) => {
            Linear { min, max, step, entries: join(a, b, Histogram::add) }
        }
        (Series { interval_ns, intervals, each, entries: a }, Series { entries: b, .. }) => {
            let mut entries = join(a, b, |one, other| one.add(&other, each));
            series::forget(&mut entries, interval_ns, intervals);
            Series { interval_ns, intervals, each, entries }
        }
        (one, _) => one,
    }
}

/// All of both; what has one key is added up. Each is in the order of its keys, and a stable sort merges two such runs in one
/// pass.
fn join<V>(mut one: Vec<Entry<V>>, other: Vec<Entry<V>>, add: impl Fn(&mut V, V)) -> Vec<Entry<V>> {
    one.extend(other);
    let mut all: Vec<Entry<V>> = Vec::with_capacity(one.len());
    for entry in sorted(one) {
        match all.last_mut() {
            Some(last) if last.key == entry.key => add(&mut last.value, entry.value),
            _ => all.push(entry),
        }
    }
    all
}

impl Number {
    fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl Mean {
    fn add(&mut self, other: Self) {
        self.total.add(other.total);
        self.count = self.count.saturating_add(other.count);
    }

    /// The average, without what is behind the point; none of nothing.
    pub fn average(&self) -> Option<i128> {
        self.total.0.checked_div(self.count.into())
    }
}

impl Histogram {
    /// Of ranges and how many values lie in each, in any order.
    pub fn new(counts: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        for (range, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let sum = all.entry(range).or_default();
            *sum = sum.saturating_add(count);
        }
        Self { ranges: all.keys().copied().collect(), counts: all.into_values().collect() }
    }

    /// Ranges that hold values, and how many.
    pub fn counts(&self) -> impl Iterator<Item = (u32, u64)> {
        self.ranges.iter().copied().zip(self.counts.iter().copied())
    }

    fn add(&mut self, other: Self) {
        let others = other.ranges.into_iter().zip(other.counts);
        *self = Self::new(self.counts().chain(others).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Series;
    use super::*;

    /// What happened on a node: a key and a number.
    type Hit = (usize, u8, i64);

    const KINDS: usize = 13;

    fn gather<V>(hits: &[Hit], first: impl Fn(i64) -> V, add: impl Fn(&mut V, i64)) -> Vec<Entry<V>> {
        let mut all: BTreeMap<u8, V> = BTreeMap::new();
        for (_, key, number) in hits {
            all.entry(*key).and_modify(|value| add(value, *number)).or_insert_with(|| first(*number));
        }
        // As a kernel's hash table has them: in no order.
        let tuple = |key: u8| Value::Tuple(vec![Value::Text(format!("k{key}")), Value::Number(u64::from(key).into())]);
        all.into_iter().rev().map(|(key, value)| Entry { key: Some(tuple(key)), value }).collect()
    }

    /// What a node that sees these hits has in a map of each kind.
    fn node(kind: usize, hits: &[Hit]) -> Snapshot {
        let mean = |number: i64| Mean { total: number.into(), count: 1 };
        let histogram = |number: i64| Histogram::new([(u32::try_from(number.rem_euclid(5)).unwrap(), 1)]);
        let held = match kind {
            0 => Held::Count { entries: gather(hits, |_| 1, |count, _| *count += 1) },
            1 => Held::Sum { entries: gather(hits, Number::from, |sum, number| sum.0 += i128::from(number)) },
            2 => {
                Held::Min { entries: gather(hits, Number::from, |least, number| *least = (*least).min(number.into())) }
            }
            3 => Held::Max { entries: gather(hits, Number::from, |most, number| *most = (*most).max(number.into())) },
            4 => Held::Average { entries: gather(hits, mean, |all, number| all.add(mean(number))) },
            5 => Held::Stats { entries: gather(hits, mean, |all, number| all.add(mean(number))) },
            6 => Held::Log2 { bits: 2, entries: gather(hits, histogram, |all, number| all.add(histogram(number))) },
            7 => Held::Linear {
                min: 0,
                max: 10,
                step: 2,
                entries: gather(hits, histogram, |all, number| all.add(histogram(number))),
            },
            _ => series(EACH[kind - 8], hits),
        };
        Map { name: "x".into(), held, left_out: 0 }
    }

    const EACH: [Each; 5] = [Each::Last, Each::Sum, Each::Average, Each::Min, Each::Max];

    /// Hits come one after the other within some intervals, of which a node keeps three. A number comes once at a time.
    fn series(each: Each, hits: &[Hit]) -> Held<Value> {
        let point = |number: i64| {
            let start = number.rem_euclid(7).cast_unsigned() * 10;
            let weight = if each == Each::Last { number.cast_unsigned() } else { 1 };
            Series { start_unix_ns: vec![start], values: vec![number.into()], weights: vec![weight] }
        };
        let mut entries = gather(hits, point, |all, number| all.add(&point(number), each));
        series::forget(&mut entries, 10, 3);
        Held::Series { interval_ns: 10, intervals: 3, each, entries }
    }

    fn hits() -> impl Strategy<Value = Vec<Hit>> {
        proptest::collection::vec((0_usize..4, 0_u8..5, any::<i64>()), 0..60)
    }

    /// What each of four nodes has.
    fn nodes(kind: usize, hits: &[Hit]) -> Vec<Merged> {
        let of = |number: usize| hits.iter().filter(|(node, ..)| *node == number).copied().collect::<Vec<_>>();
        (0..4).map(|number| node(kind, &of(number)).of_node(&format!("n{number}"))).collect()
    }

    proptest! {
        #[test]
        fn all_nodes_together_are_one_that_saw_everything(hits in hits(), kind in 0..KINDS) {
            let one = merge([node(kind, &hits).of_node("all")]);
            prop_assert_eq!(merge(nodes(kind, &hits)), one);
        }

        #[test]
        fn neither_order_nor_grouping_matters(hits in hits(), kind in 0..KINDS, order in Just([0, 1, 2, 3]).prop_shuffle(), cut in 0_usize..5) {
            let nodes = nodes(kind, &hits);
            let shuffled: Vec<Merged> = order.iter().map(|at| nodes[*at].clone()).collect();
            let (left, right) = shuffled.split_at(cut);
            let grouped = merge(merge(left.to_vec()).into_iter().chain(merge(right.to_vec())));
            prop_assert_eq!(grouped, merge(nodes));
        }

        #[test]
        fn what_is_written_is_read(hits in hits(), kind in 0..KINDS) {
            let map = node(kind, &hits);
            // Sums of whole numbers of 64 bits may need more; those are cut, which is tested below.
            prop_assume!(!matches!(kind, 1 | 4 | 5 | 9 | 10));
            let bytes = rmp_serde::to_vec_named(&map).unwrap();
            prop_assert_eq!(&rmp_serde::from_slice::<Snapshot>(&bytes).unwrap(), &map);
            let json = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), map);
        }
    }

    #[test]
    fn numbers_have_their_sign_and_end_at_64_bits() {
        for (number, written) in [
            (-1, "-1"),
            (i128::from(u64::MAX), "18446744073709551615"),
            (i128::from(u64::MAX) + 1, "18446744073709551615"),
            (i128::from(i64::MIN) - 1, "-9223372036854775808"),
        ] {
            assert_eq!(serde_json::to_string(&Number(number)).unwrap(), written);
            let bytes = rmp_serde::to_vec_named(&Value::Number(Number(number))).unwrap();
            let read: Value = rmp_serde::from_slice(&bytes).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
    }

    #[test]
    fn plain_values_stand_side_by_side_and_kinds_do_not_mix() {
        let plain = |number: i64| Snapshot {
            name: "a".into(),
            held: Held::Values { entries: vec![Entry { key: None, value: Value::Number(number.into()) }] },
            left_out: 1,
        };
        let counted = Snapshot {
            name: "a".into(),
            held: Held::Count { entries: vec![Entry { key: None, value: 3 }] },
            left_out: 0,
        };
        let merged = merge([plain(1).of_node("x"), counted.of_node("z"), plain(-2).of_node("y")]);
        let both = [("x".to_owned(), Value::Number(1_i64.into())), ("y".to_owned(), Value::Number((-2_i64).into()))];
        let values = Held::Values { entries: vec![Entry { key: None, value: PerNode::from(both) }] };
        assert_eq!(merged[0], Map { name: "a".into(), held: values, left_out: 2 });
        assert_eq!(merged[1].held, Held::Count { entries: vec![Entry { key: None, value: 3 }] });
    }

    #[test]
    fn keys_that_read_alike_are_added_up_whoever_tells_them() {
        let counted = |counts: &[u64]| {
            let entry = |count: &u64| Entry { key: Some(Value::Text("f".into())), value: *count };
            let held = Held::Count { entries: counts.iter().map(entry).collect() };
            Snapshot { name: "a".into(), held, left_out: 0 }.of_node("n")
        };
        for nodes in [[&[1, 2][..], &[4]], [&[4], &[1, 2]], [&[1, 2], &[2, 2]]] {
            let merged = merge(nodes.map(counted));
            assert_eq!(merged, [counted(&[nodes.concat().iter().sum()])]);
        }
    }

    #[test]
    fn an_average_of_nothing_is_none() {
        assert_eq!(Mean::default().average(), None);
        assert_eq!(Mean { total: Number(-7), count: 2 }.average(), Some(-3));
    }
}
