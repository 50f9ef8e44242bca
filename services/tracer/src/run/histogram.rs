//! Histograms as boxes of `@`.

use std::io::{self, Write};

use crate::plan::buckets;
use crate::types::Aggregate;

/// The longest bar, in characters.
const BAR: u64 = 52;

/// Writes the ranges from the first to the last that has values.
pub(super) fn write(aggregate: Aggregate, counts: &[(u64, u64)], divisor: u64, out: &mut dyn Write) -> io::Result<()> {
    let used = counts.iter().filter(|(_, count)| *count > 0).map(|(bucket, _)| *bucket);
    let (Some(first), Some(last)) = (used.clone().min(), used.max()) else { return Ok(()) };
    let count = |bucket: u64| counts.iter().filter(|(other, _)| *other == bucket).map(|(_, count)| *count).sum::<u64>();
    let largest = (first..=last).map(count).max().unwrap_or(0).max(1);
    for bucket in first..=last {
        let count = count(bucket);
        let label = label(aggregate, bucket);
        let bar = u128::from(count) * u128::from(BAR) / u128::from(largest);
        let bar = "@".repeat(usize::try_from(bar).unwrap_or(0));
        let shown = count / divisor.max(1);
        let width = usize::try_from(BAR).unwrap_or(0);
        writeln!(out, "{label:<16}{shown:>8} |{bar:<width$}|")?;
    }
    Ok(())
}

fn label(aggregate: Aggregate, bucket: u64) -> String {
    match aggregate {
        Aggregate::Linear { min, max, step } => {
            let last = u64::from(buckets(aggregate)).saturating_sub(2);
            let edge = |bucket: u64| min.saturating_add(i64::try_from(bucket).unwrap_or(i64::MAX).saturating_mul(step));
            let scaled = |number: i64| linear_edge(number, step);
            match bucket {
                0 => format!("(..., {})", scaled(min)),
                bucket if bucket >= last && edge(bucket - 1) >= max => format!("[{}, ...)", scaled(max)),
                bucket => format!("[{}, {})", scaled(edge(bucket - 1)), scaled(edge(bucket))),
            }
        }
        Aggregate::Log2 { bits } => {
            let small = 1_u64 << bits;
            match bucket {
                0 => "(..., 0)".to_owned(),
                bucket if bucket <= small => format!("[{}]", bucket - 1),
                bucket => {
                    let (low, high) = (log2_edge(bucket, bits), log2_edge(bucket + 1, bits));
                    if high - low == 1 {
                        format!("[{low}]")
                    } else if bits > 0 {
                        format!("[{low}, {high})")
                    } else {
                        format!("[{}, {})", scaled(low), scaled(high))
                    }
                }
            }
        }
        _ => String::new(),
    }
}

/// Where a range between powers of two begins.
fn log2_edge(bucket: u64, bits: u8) -> u128 {
    let index = u128::from(bucket) - 1;
    let power = (index >> bits) - 1;
    let part = index & ((1 << bits) - 1);
    ((1 << bits) + part) << power
}

/// A number in units of 1024, where it is a whole number of them.
fn scaled(number: u128) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let mut number = number;
    let mut unit = 0;
    while unit + 1 < UNITS.len() && number >= 1024 && number.is_multiple_of(1024) {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", UNITS.get(unit).copied().unwrap_or_default())
}

fn linear_edge(number: i64, step: i64) -> String {
    for (unit, name) in [(1 << 20, "M"), (1 << 10, "K")] {
        if step % unit == 0 {
            return format!("{}{name}", number / unit);
        }
    }
    number.to_string()
}
