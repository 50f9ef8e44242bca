//! Results as lines of JSON, in the shapes that bpftrace's `-f json` gives them: `{"type": …, "data": …}`.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::histogram::{Range, without_gaps};
use super::series;
use super::snapshot::{Entries, Gathered, Snapshot};
use super::value::{Value, escaped};
use super::{Report, Shown, Sink};
use crate::types::Aggregate;

/// Writes reports as lines of JSON.
#[derive(Debug)]
pub struct Json<O, E> {
    out: O,
    error: E,
}

impl<O: Write, E: Write> Json<O, E> {
    /// Results to the first, complaints to the second.
    pub fn new(out: O, error: E) -> Self {
        Self { out, error }
    }

    fn message(&mut self, kind: &str, data: &str) -> io::Result<()> {
        writeln!(self.out, r#"{{"type": "{kind}", "data": {data}}}"#)
    }
}

impl<O: Write, E: Write> Sink for Json<O, E> {
    fn take(&mut self, report: Report) -> io::Result<()> {
        match report {
            Report::Attaching(count) => self.message("attached_probes", &format!(r#"{{"probes": {count}}}"#)),
            Report::Attached => Ok(()),
            Report::Unprobed { probe, functions } => {
                writeln!(self.error, "functions of `{probe}` that cannot be probed: {functions}")
            }
            Report::Printed { text, error: false } => self.message("printf", &quoted(&text)),
            Report::Printed { text, error: true } => self.error.write_all(&text),
            Report::Value(it) => self.message("value", &value(&it)),
            Report::Map(snapshot, _) if snapshot.is_empty() => Ok(()),
            Report::Map(snapshot, shown) => self.message(kind(&snapshot), &map(&snapshot, shown)),
            Report::Time(text) => self.message("time", &quoted(text.as_bytes())),
            Report::Joined(text) => self.message("join", &quoted(&text)),
            Report::Lost(records) => self.message("lost_events", &format!(r#"{{"events": {records}}}"#)),
            Report::Ending => write!(self.out, "\n\n"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.error.flush()
    }
}

fn kind(map: &Snapshot) -> &'static str {
    match &map.entries {
        Entries::Gathered(Aggregate::Average { .. } | Aggregate::Stats { .. }, _) => "stats",
        Entries::Values(_) | Entries::Gathered(..) => "map",
        Entries::Histograms(..) => "hist",
        Entries::Series(..) => "tseries",
    }
}

/// `{"@name": value}`, or with keys `{"@name": {"key": value}}`.
fn map(map: &Snapshot, shown: Shown) -> String {
    let content = match &map.entries {
        Entries::Values(entries) => object(map.keyed, shown.largest(entries), |it| value(&it.divided(shown.divisor))),
        Entries::Gathered(aggregate, entries) => {
            object(map.keyed, shown.largest(entries), |it| gathered(*aggregate, it, shown.divisor))
        }
        Entries::Histograms(aggregate, entries) => {
            object(map.keyed, shown.largest(entries), |counts| ranges(*aggregate, counts, shown.divisor))
        }
        Entries::Series(series, entries) => object(map.keyed, entries, |points| series::json(*series, points)),
    };
    format!("{{{}: {content}}}", quoted(format!("@{}", map.name).as_bytes()))
}

fn object<T>(keyed: bool, entries: &[(Option<Value>, T)], text: impl Fn(&T) -> String) -> String {
    let member = |(name, it): &(Option<Value>, T)| match name {
        Some(name) => format!("{}: {}", quoted(key(name).as_bytes()), text(it)),
        None => text(it),
    };
    let members = entries.iter().map(member).collect::<Vec<_>>().join(", ");
    if keyed { format!("{{{members}}}") } else { members }
}

/// A key: a tuple's parts side by side. As in bpftrace, text in it is escaped here already, and once more as the name of
/// a member.
fn key(key: &Value) -> String {
    let part = |part: &Value| match part {
        Value::Text(text) => inside(text),
        other => value(other).trim_matches('"').to_owned(),
    };
    match key {
        Value::Tuple(items) => items.iter().map(part).collect::<Vec<_>>().join(","),
        other => part(other),
    }
}

fn value(it: &Value) -> String {
    match it {
        // As in bpftrace, without its name.
        Value::Signed(number) | Value::Named { number, .. } => number.to_string(),
        Value::Unsigned(number) | Value::Pointer(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => quoted(escaped(bytes, true).as_bytes()),
        Value::Record(members) => {
            let one = |(name, it): &(String, Value)| format!("{}: {}", quoted(name.as_bytes()), value(it));
            format!("{{ {} }}", members.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Value::Tuple(items) | Value::List(items) => {
            format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(","))
        }
    }
}

fn gathered(aggregate: Aggregate, it: &Gathered, divisor: u64) -> String {
    let divisor = i128::from(divisor.max(1));
    match aggregate {
        Aggregate::Average { .. } => (it.average() / divisor).to_string(),
        Aggregate::Stats { .. } => {
            // Only the average is divided, as in bpftrace.
            let (count, average, total) = (it.count, it.average() / divisor, it.total);
            format!(r#"{{"count": {count}, "average": {average}, "total": {total}}}"#)
        }
        _ => (it.total / divisor).to_string(),
    }
}

/// A histogram's ranges: the first and the last number in each, where there is one.
fn ranges(aggregate: Aggregate, counts: &[(u64, u64)], divisor: u64) -> String {
    let one = |(number, count): (u64, u64)| {
        let Range { from, to } = Range::of(aggregate, number);
        let from = from.map_or_else(String::new, |from| format!(r#""min": {from}, "#));
        let to = to.map_or_else(String::new, |to| format!(r#""max": {}, "#, to - 1));
        format!(r#"{{{from}{to}"count": {}}}"#, count / divisor.max(1))
    };
    format!("[{}]", without_gaps(counts).map(one).collect::<Vec<_>>().join(", "))
}

fn quoted(text: &[u8]) -> String {
    format!("\"{}\"", inside(text))
}

/// Text as it stands between quotes; bytes that are no UTF-8 are replaced.
fn inside(text: &[u8]) -> String {
    let mut all = String::with_capacity(text.len());
    for letter in String::from_utf8_lossy(text).chars() {
        match letter {
            '"' => all.push_str("\\\""),
            '\\' => all.push_str("\\\\"),
            '\u{8}' => all.push_str("\\b"),
            '\u{c}' => all.push_str("\\f"),
            '\n' => all.push_str("\\n"),
            '\r' => all.push_str("\\r"),
            '\t' => all.push_str("\\t"),
            // Writing to memory does not fail.
            '\0'..' ' => drop(write!(all, "\\u{:04x}", u32::from(letter))),
            _ => all.push(letter),
        }
    }
    all
}
