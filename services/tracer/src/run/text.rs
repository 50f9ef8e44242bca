//! Results as people read them, as bpftrace writes them.

use std::io::{self, Write};

use super::histogram::{Range, without_gaps};
use super::series::{self, Point};
use super::snapshot::{Entries, Gathered, Snapshot};
use super::value::{Value, escaped};
use super::{Report, Shown, Sink};
use crate::types::Aggregate;

/// Writes reports as text.
#[derive(Debug)]
pub struct Text<O, E> {
    out: O,
    error: E,
}

impl<O: Write, E: Write> Text<O, E> {
    /// Results to the first, complaints to the second.
    pub fn new(out: O, error: E) -> Self {
        Self { out, error }
    }
}

impl<O: Write, E: Write> Sink for Text<O, E> {
    fn take(&mut self, report: Report) -> io::Result<()> {
        match report {
            Report::Attaching(count) => writeln!(self.out, "Attaching {count} probe{}...", plural(count)),
            Report::Attached => Ok(()),
            Report::Unprobed { probe, functions } => {
                writeln!(self.error, "functions of `{probe}` that cannot be probed: {functions}")
            }
            Report::Printed { text, error: false } => self.out.write_all(&text),
            Report::Printed { text, error: true } => self.error.write_all(&text),
            Report::Value(it) => {
                self.out.write_all(&value(&it))?;
                writeln!(self.out)
            }
            Report::Map(snapshot, shown) => self.out.write_all(&map(&snapshot, shown)),
            Report::Time(text) => self.out.write_all(text.as_bytes()),
            Report::Joined(text) => {
                self.out.write_all(&text)?;
                writeln!(self.out)
            }
            Report::Lost(records) => writeln!(self.out, "Lost {records} events"),
            Report::Ending => write!(self.out, "\n\n"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.error.flush()
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// As `print` writes it.
pub(super) fn value(it: &Value) -> Vec<u8> {
    match it {
        Value::Signed(number) | Value::Named { number, name: None } => number.to_string().into_bytes(),
        Value::Unsigned(number) => number.to_string().into_bytes(),
        Value::Named { name: Some(name), .. } => name.clone().into_bytes(),
        Value::Bool(value) => value.to_string().into_bytes(),
        Value::Pointer(address) => format!("{address:#x}").into_bytes(),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => escaped(bytes, true).into_bytes(),
        Value::Tuple(items) => [b"(", list(items).as_slice(), b")"].concat(),
        Value::List(items) => {
            [b"[", items.iter().map(value).collect::<Vec<_>>().join(&b","[..]).as_slice(), b"]"].concat()
        }
        Value::Record(members) => {
            let one = |(name, it): &(String, Value)| [format!(".{name} = ").as_bytes(), &value(it)].concat();
            [b"{ ", members.iter().map(one).collect::<Vec<_>>().join(&b", "[..]).as_slice(), b" }"].concat()
        }
    }
}

fn list(items: &[Value]) -> Vec<u8> {
    items.iter().map(value).collect::<Vec<_>>().join(&b", "[..])
}

/// `@name` or `@name[key]`; of a tuple's parts without parentheses.
fn name(map: &Snapshot, key: Option<&Value>) -> Vec<u8> {
    let key = match key {
        None => return format!("@{}", map.name).into_bytes(),
        Some(Value::Tuple(items)) => list(items),
        Some(other) => value(other),
    };
    [format!("@{}[", map.name).as_bytes(), &key, b"]"].concat()
}

/// A map as `print` writes it.
fn map(map: &Snapshot, shown: Shown) -> Vec<u8> {
    // What has several numbers stands in a paragraph of its own, and so does what is not there.
    let several = matches!(&map.entries, Entries::Gathered(Aggregate::Average { .. } | Aggregate::Stats { .. }, _));
    let empty_lines = usize::from(several) + usize::from(map.is_empty());
    let mut text = match &map.entries {
        Entries::Values(entries) => lines(map, shown.largest(entries), |it| value(&it.divided(shown.divisor))),
        Entries::Gathered(aggregate, entries) => {
            lines(map, shown.largest(entries), |it| gathered(*aggregate, it, shown.divisor).into_bytes())
        }
        Entries::Histograms(aggregate, entries) => {
            let one = |(key, counts): &(Option<Value>, Vec<(u64, u64)>)| {
                let boxes = boxes(*aggregate, counts, shown.divisor);
                [name(map, key.as_ref()).as_slice(), b":\n", boxes.as_bytes(), b"\n"].concat()
            };
            shown.largest(entries).iter().flat_map(one).collect()
        }
        Entries::Series(series, entries) => {
            let last = series::last(entries.iter().map(|(_, points)| points));
            let one = |(key, points): &(Option<Value>, Vec<Point>)| {
                let drawing = series::drawing(*series, points, last);
                [name(map, key.as_ref()).as_slice(), b":\n", drawing.as_bytes(), b"\n"].concat()
            };
            entries.iter().flat_map(one).collect()
        }
    };
    text.extend(std::iter::repeat_n(b'\n', empty_lines));
    text
}

fn lines<T>(map: &Snapshot, entries: &[(Option<Value>, T)], text: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    let line = |(key, it): &(Option<Value>, T)| [&name(map, key.as_ref()), &b": "[..], &text(it), b"\n"].concat();
    entries.iter().flat_map(line).collect()
}

fn gathered(aggregate: Aggregate, it: &Gathered, divisor: u64) -> String {
    let divisor = i128::from(divisor.max(1));
    match aggregate {
        Aggregate::Average { .. } => (it.average() / divisor).to_string(),
        Aggregate::Stats { .. } => {
            // Only the average is divided, as in bpftrace.
            let (count, average, total) = (it.count, it.average() / divisor, it.total);
            format!("count {count}, average {average}, total {total}")
        }
        _ => (it.total / divisor).to_string(),
    }
}

/// The longest bar of a histogram, in characters.
const BAR: u64 = 52;

/// A line for each range.
fn boxes(aggregate: Aggregate, counts: &[(u64, u64)], divisor: u64) -> String {
    let largest = counts.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let line = |(number, count): (u64, u64)| {
        let label = label(aggregate, Range::of(aggregate, number));
        let bar = u128::from(count) * u128::from(BAR) / u128::from(largest);
        let bar = "@".repeat(usize::try_from(bar).unwrap_or(0));
        let shown = count / divisor.max(1);
        let width = usize::try_from(BAR).unwrap_or(0);
        format!("{label:<16}{shown:>8} |{bar:<width$}|\n")
    };
    without_gaps(counts).map(line).collect()
}

fn label(aggregate: Aggregate, range: Range) -> String {
    let edge = |number: i128| match aggregate {
        Aggregate::Linear { step, .. } => by_step(number, step),
        Aggregate::Log2 { bits: 0 } => in_units(number),
        _ => number.to_string(),
    };
    match (range.from, range.to) {
        (Some(from), Some(to)) if to - from == 1 && matches!(aggregate, Aggregate::Log2 { .. }) => format!("[{from}]"),
        (from, to) => {
            let from = from.map_or_else(|| "(...".to_owned(), |from| format!("[{}", edge(from)));
            format!("{from}, {})", to.map_or_else(|| "...".to_owned(), edge))
        }
    }
}

/// A number in units of 1024, where it is a whole number of them.
fn in_units(number: i128) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let mut number = number;
    let mut unit = 0;
    while unit + 1 < UNITS.len() && number >= 1024 && number % 1024 == 0 {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", UNITS.get(unit).copied().unwrap_or_default())
}

/// A number in units of 1024 where the ranges' width is.
fn by_step(number: i128, step: i64) -> String {
    for (unit, name) in [(1 << 20, "M"), (1 << 10, "K")] {
        if step % unit == 0 {
            return format!("{}{name}", number / i128::from(unit));
        }
    }
    number.to_string()
}
