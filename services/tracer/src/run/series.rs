//! Values over time: put together from all CPUs, and drawn as bpftrace draws them since 0.24.

use std::collections::BTreeMap;

use super::clock;
use super::decode::word;
use crate::types::{Each, Series};

/// What was gathered in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The interval: how many of its length have passed since 1970 when it begins.
    pub interval: u64,
    /// The sum, or the one value that stays.
    pub total: i128,
    /// Of averages, how many values it is the sum of; of last values, when it came, in nanoseconds since 1970.
    pub weight: u64,
}

impl Point {
    /// The value of the interval.
    pub fn value(&self, each: Each) -> i128 {
        if each == Each::Average { self.total / i128::from(self.weight.max(1)) } else { self.total }
    }

    /// What all CPUs have at a place of the ring: of the latest interval, as others have been given up on other CPUs only.
    pub(super) fn of<'v>(series: Series, parts: impl Iterator<Item = &'v [u8]>) -> Option<Self> {
        let point = |part: &[u8]| {
            let total = word(part, 0);
            let total = if series.signed { i128::from(total.cast_signed()) } else { i128::from(total) };
            Self { interval: word(part, 16), total, weight: word(part, 8) }
        };
        let points = parts.map(point).filter(|point| point.interval > 0);
        points.reduce(|one, other| match one.interval.cmp(&other.interval) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => one,
            std::cmp::Ordering::Equal => one.and(other, series.each),
        })
    }

    fn and(self, other: Self, each: Each) -> Self {
        match each {
            Each::Last => std::cmp::max_by_key(other, self, |point| point.weight),
            Each::Sum | Each::Average => {
                let weight = self.weight.saturating_add(other.weight);
                Self { total: self.total + other.total, weight, ..self }
            }
            Each::Min => std::cmp::min_by_key(self, other, |point| point.total),
            Each::Max => std::cmp::max_by_key(self, other, |point| point.total),
        }
    }
}

/// The series of each key, in the order of their intervals: of those that count back from the last one of all.
pub(super) fn of_keys(
    series: Series,
    points: impl Iterator<Item = (Vec<u8>, Option<Point>)>,
) -> BTreeMap<Vec<u8>, Vec<Point>> {
    let mut all: BTreeMap<Vec<u8>, Vec<Point>> = BTreeMap::new();
    for (key, point) in points {
        all.entry(key).or_default().extend(point);
    }
    let last = all.values().flatten().map(|point| point.interval).max().unwrap_or(0);
    let gone = last.saturating_sub(series.intervals.into());
    for points in all.values_mut() {
        points.retain(|point| point.interval > gone);
        points.sort_by_key(|point| point.interval);
    }
    all
}

/// The last interval in which any of these has a value.
pub(super) fn last<'p>(all: impl Iterator<Item = &'p Vec<Point>>) -> u64 {
    all.flatten().map(|point| point.interval).max().unwrap_or(0)
}

/// `{"interval_start":"2026-01-01 00:00:00.000000000","value":1}` for each interval that has one.
pub(super) fn json(series: Series, points: &[Point]) -> String {
    let one = |point: &Point| {
        let start = start(series, point.interval);
        let time = clock::universal("%Y-%m-%d %H:%M:%S", start);
        let (time, fraction) = (String::from_utf8_lossy(&time), start.rem_euclid(SECOND));
        let value = point.value(series.each);
        format!(r#"{{"interval_start":"{time}.{fraction:09}","value":{value}}}"#)
    };
    format!("[{}]", points.iter().map(one).collect::<Vec<_>>().join(","))
}

const SECOND: i128 = 1_000_000_000;
/// Characters of the drawing, its edges included.
const WIDTH: usize = 53;
/// Characters of the least value above and below the drawing.
const LEAST: usize = 21;

fn start(series: Series, interval: u64) -> i128 {
    i128::from(interval) * i128::from(series.interval)
}

/// A line for each interval from the first that has a value up to `last`.
pub(super) fn drawing(series: Series, points: &[Point], last: u64) -> String {
    let first = points.first().map_or(last, |point| point.interval);
    let values = points.iter().map(|point| point.value(series.each));
    let range = values.clone().min().zip(values.max()).map(|(least, most)| {
        // A single value has some room on both sides, where its type has.
        let (below, above) = if series.signed { (i64::MIN.into(), i64::MAX.into()) } else { (0, u64::MAX.into()) };
        if least == most { ((least - 1).max(below), (most + 1).min(above)) } else { (least, most) }
    });
    let unit = Unit::of(if last > first { series.interval } else { 0 });
    let name = unit.name();
    let scale = range.map_or_else(String::new, |(least, most)| format!("{least:<LEAST$}{most:>0$}", WIDTH - LEAST));
    let margin = " ".repeat(unit.columns());
    // As bpftrace counts them, a letter that takes two bytes takes two columns of the margin.
    let padding = " ".repeat((unit.columns() + 1).saturating_sub(name.len()));
    let line = "_".repeat(WIDTH - 2);
    let mut known = points.iter().peekable();
    let mut drawn = |interval: u64| {
        let point = known.next_if(|point| point.interval == interval).map(|point| point.value(series.each));
        let time = unit.time(start(series, interval));
        let said = point.map_or_else(|| "-".to_owned(), |value| value.to_string());
        format!("{time} {} {said}\n", row(range, point))
    };
    let rows: String = (first..=last).map(&mut drawn).collect();
    format!("{margin} {scale}\n{name}{padding}|{line}|\n{rows}{margin} v{line}v\n{margin} {scale}\n")
}

/// The drawing's part of a line: its edges, where zero is, and the value.
fn row(range: Option<(i128, i128)>, value: Option<i128>) -> String {
    let mut row = [b' '; WIDTH];
    let mut put = |at: usize, letter: u8| {
        if let Some(place) = row.get_mut(at) {
            *place = letter;
        }
    };
    put(0, b'|');
    put(WIDTH - 1, b'|');
    if let Some((least, most)) = range {
        if least < 0 && most > 0 {
            // Zero is drawn as in bpftrace, whose scale is one longer for it; at the edge, it is not.
            match at(WIDTH, least, 0, most) {
                0 => {}
                zero => put(zero, b'.'),
            }
        }
        if let Some(value) = value {
            put(at(WIDTH - 1, least, value, most).min(WIDTH - 1), b'*');
        }
    }
    String::from_utf8_lossy(&row).into_owned()
}

/// Where a value is on a scale, in bpftrace's arithmetic.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a drawing of 53 columns, rounded as bpftrace rounds it"
)]
fn at(columns: usize, least: i128, value: i128, most: i128) -> usize {
    if least == most {
        return WIDTH / 2;
    }
    (columns as f32 * (value - least) as f32 / (most - least) as f32) as usize
}

/// What a drawing's times are exact to.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    /// For intervals of so many nanoseconds.
    fn of(interval: u64) -> Self {
        match interval {
            1_000_000_000.. => Self::Seconds,
            1_000_000.. => Self::Milliseconds,
            1_000.. => Self::Microseconds,
            _ => Self::Nanoseconds,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "hh:mm:ss",
            Self::Milliseconds => "hh:mm:ss.ms",
            Self::Microseconds => "hh:mm:ss.μs",
            Self::Nanoseconds => "hh:mm:ss.ns",
        }
    }

    /// Digits behind the point.
    fn digits(self) -> usize {
        match self {
            Self::Seconds => 0,
            Self::Milliseconds => 3,
            Self::Microseconds => 6,
            Self::Nanoseconds => 9,
        }
    }

    /// Characters of a time.
    fn columns(self) -> usize {
        let point = usize::from(self.digits() > 0);
        "hh:mm:ss".len() + point + self.digits()
    }

    /// Nanoseconds since 1970 as local time.
    fn time(self, nanoseconds: i128) -> String {
        let seconds = String::from_utf8_lossy(&clock::local("%H:%M:%S", nanoseconds)).into_owned();
        let nanoseconds = format!("{:09}", nanoseconds.rem_euclid(SECOND));
        match self.digits() {
            0 => seconds,
            digits => format!("{seconds}.{}", nanoseconds.get(..digits).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series = Series { interval: 1_000_000, intervals: 5, each: Each::Last, signed: true };

    fn points(first: u64, values: impl IntoIterator<Item = i128>) -> Vec<Point> {
        (first..).zip(values).map(|(interval, total)| Point { interval, total, weight: interval }).collect()
    }

    /// Times without the hour and the minute, which depend on where this runs.
    fn drawn(series: Series, points: &[Point], last: u64) -> String {
        let text = drawing(series, points, last);
        let settled = |line: &str| match line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) {
            Some((_, rest)) if !line.starts_with("hh") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(settled).collect()
    }

    /// What bpftrace's own test of its drawing expects (`tests/bpftrace.cpp` of 0.24, `print_tseries_map`).
    #[test]
    fn two_keys_are_drawn_as_in_bpftrace() {
        let first = 173_482_610;
        let both = [(b"0".to_vec(), points(first + 1, 1..=5)), (b"1".to_vec(), points(first + 2, 1..=5))];
        let flat = both.iter().flat_map(|(key, points)| points.iter().map(|point| (key.clone(), Some(*point))));
        let of_keys = of_keys(SERIES, flat);
        let last = last(of_keys.values());
        assert_eq!(
            of_keys.values().map(|points| drawn(SERIES, points, last)).collect::<Vec<_>>(),
            [
                "             2                                                   5
hh:mm:ss.ms  |___________________________________________________|
22.612 *                                                   | 2
22.613 |                *                                  | 3
22.614 |                                 *                 | 4
22.615 |                                                   * 5
22.616 |                                                   | -
             v___________________________________________________v
             2                                                   5
",
                "             1                                                   5
hh:mm:ss.ms  |___________________________________________________|
22.612 *                                                   | 1
22.613 |            *                                      | 2
22.614 |                         *                         | 3
22.615 |                                      *            | 4
22.616 |                                                   * 5
             v___________________________________________________v
             1                                                   5
"
            ]
        );
    }

    /// The manual's second example, and its test (`tests/runtime/outputs/tseries_zigzag.txt`).
    #[test]
    fn zero_is_drawn_between_values_of_both_signs() {
        let series = Series { interval: 100_000_000, intervals: 20, ..SERIES };
        let text = drawn(series, &points(1, (-5..=5).chain((0..5).rev())), 16);
        for line in [
            "             -5                                                  5",
            "00.100 *                         .                         | -5",
            "00.200 |    *                    .                         | -4",
            "00.500 |                   *     .                         | -1",
            "00.600 |                         *                         | 0",
            "00.700 |                         .    *                    | 1",
            "01.100 |                         .                         * 5",
        ] {
            assert!(text.lines().any(|drawn| drawn == line), "{line}\n{text}");
        }
    }

    #[test]
    fn one_value_has_room_on_both_sides_and_none_below_zero_without_sign() {
        let nines = drawn(Series { interval: 100_000_000, ..SERIES }, &points(5, [9, 9]), 6);
        assert!(nines.starts_with("             8                                                  10\n"), "{nines}");
        assert!(nines.contains("00.500 |                         *                         | 9\n"), "{nines}");
        let zeroes = Series { interval: 100_000_000, signed: false, ..SERIES };
        let zeroes = drawn(zeroes, &points(5, [0, 0]), 6);
        assert!(zeroes.starts_with("             0                                                   1\n"), "{zeroes}");
        assert!(zeroes.contains("00.500 *                                                   | 0\n"), "{zeroes}");
    }

    #[test]
    fn times_are_as_exact_as_intervals() {
        for (interval, name, time) in [
            (1_000_000_000, "hh:mm:ss |_", "07 |"),
            (1_000, "hh:mm:ss.μs    |_", "00.000007 |"),
            (100, "hh:mm:ss.ns        |_", "00.000000700 |"),
        ] {
            let text = drawn(Series { interval, ..SERIES }, &points(7, [1, 2]), 8);
            assert!(text.contains(&format!("\n{name}")), "{text}");
            assert!(text.contains(&format!("\n{}", time.replace('|', "*"))), "{text}");
        }
    }

    #[test]
    fn json_has_universal_time_and_leaves_out_what_is_not_there() {
        let series = Series { interval: 100_000_000, ..SERIES };
        let mut two = points(5, [9, 0, -9]);
        two.remove(1);
        let expected = r#"[{"interval_start":"1970-01-01 00:00:00.500000000","value":9},{"interval_start":"1970-01-01 00:00:00.700000000","value":-9}]"#;
        assert_eq!(json(series, &two), expected);
    }

    #[test]
    fn cpus_are_put_together_within_the_latest_interval() {
        let part = |total: i64, weight: u64, interval: u64| {
            [total.to_ne_bytes(), weight.to_ne_bytes(), interval.to_ne_bytes()].concat()
        };
        let parts = [part(100, 9, 6), part(-4, 2, 7), part(0, 0, 0), part(9, 3, 7)];
        for (each, value) in [(Each::Last, 9), (Each::Sum, 5), (Each::Average, 1), (Each::Min, -4), (Each::Max, 9)] {
            let point = Point::of(Series { each, ..SERIES }, parts.iter().map(Vec::as_slice)).unwrap();
            assert_eq!((point.interval, point.value(each)), (7, value), "{each:?}");
        }
        assert_eq!(Point::of(SERIES, std::iter::once(part(0, 0, 0).as_slice())), None);
    }
}
