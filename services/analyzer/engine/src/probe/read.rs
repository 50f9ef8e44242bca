//! What a probe's maps tell: the names and keys are those of the scripts in `services/tracer/probes`.

use synscope_bus::snapshot::{Held, Snapshot, Value};

use super::Kind;

/// What a probe counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Packets that the kernel threw away.
    Dropped {
        /// Its reason, without the prefix that all have.
        reason: String,
        /// The function that did it.
        function: String,
    },
    /// Connections that took so long from SYN to SYN-ACK, at least, µs, and less than twice as long.
    Connected {
        /// The least that they took.
        least_us: u64,
    },
}

/// What a map of this probe's tells.
pub(super) fn counted(kind: Kind, map: &Snapshot) -> Vec<(What, u64)> {
    match (kind, map.name.as_str(), &map.held) {
        (Kind::Drops, "drops", Held::Count { entries }) => {
            let dropped = |key: Option<&Value>| {
                let Some(Value::Tuple(parts)) = key else { return None };
                let [reason, function] = parts.as_slice() else { return None };
                let reason = text(reason);
                let reason = reason.strip_prefix("SKB_DROP_REASON_").unwrap_or(&reason).to_owned();
                Some(What::Dropped { reason, function: text(function) })
            };
            entries.iter().filter_map(|entry| Some((dropped(entry.key.as_ref())?, entry.value))).collect()
        }
        (Kind::ConnectLatency, "connected_us", Held::Log2 { bits, entries }) => {
            let ranges = entries.iter().flat_map(|entry| entry.value.counts());
            ranges.map(|(range, count)| (What::Connected { least_us: least(range, *bits) }, count)).collect()
        }
        _ => Vec::new(),
    }
}

/// Where a range of a histogram begins ([`Held::Log2`]).
fn least(range: u32, bits: u8) -> u64 {
    let (parts, i) = (1_u64 << bits.min(5), u64::from(range.saturating_sub(1)));
    if i < parts {
        return i;
    }
    let power = (i >> bits.min(5)) - 1;
    (parts + i % parts).checked_shl(u32::try_from(power).unwrap_or(u32::MAX)).unwrap_or(u64::MAX)
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.0.to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use synscope_bus::snapshot::{Entry, Histogram};

    use super::*;

    #[test]
    fn a_histogram_s_ranges_begin_where_the_contract_says() {
        for (range, bits, begin) in [(0, 0, 0), (1, 0, 0), (2, 0, 1), (3, 0, 2), (4, 0, 4), (20, 0, 1 << 18)] {
            assert_eq!(least(range, bits), begin, "{range}, {bits}");
        }
        // Four parts: 0 to 3, then 4, 5, 6, 7, then 8, 10, 12, 14.
        assert_eq!((1..=12).map(|range| least(range, 2)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14]);
        assert_eq!(least(u32::MAX, 5), u64::MAX);
        let entries = vec![Entry { key: Some(Value::Number(80_u64.into())), value: Histogram::new([(4, 7)]) }];
        let map = Snapshot { name: "connected_us".into(), held: Held::Log2 { bits: 0, entries }, left_out: 0 };
        assert_eq!(counted(Kind::ConnectLatency, &map), [(What::Connected { least_us: 4 }, 7)]);
        // What another probe tells is nothing to it.
        assert_eq!(counted(Kind::Drops, &map), []);
    }
}
