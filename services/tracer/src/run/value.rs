//! Values as they come out of the kernel, and as people read them.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::types::{Space, Type};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    /// A number with sign.
    Signed(i64),
    /// A number without.
    Unsigned(u64),
    /// `true` or `false`.
    Bool(bool),
    /// An address, in hexadecimal.
    Pointer(u64),
    /// Text, without the zero behind it.
    Text(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values side by side.
    Tuple(Vec<Value>),
    /// The number of a stack; below zero where there is none.
    Stack { space: Space, number: i64, depth: u32 },
    /// An address in code.
    Symbol { space: Space, address: u64, process: u32 },
}

/// Eight bytes as a number.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

impl Value {
    /// From memory, laid out as [`Type::room`] says.
    pub(super) fn decode(ty: &Type, bytes: &[u8]) -> Self {
        let first = word(bytes, 0);
        match ty {
            Type::Int { signed: true, .. } => Value::Signed(first.cast_signed()),
            Type::Bool => Value::Bool(first != 0),
            Type::Pointer { .. } => Value::Pointer(first),
            Type::Text(_) => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                Value::Text(bytes.get(..end).unwrap_or_default().to_vec())
            }
            Type::Bytes(size) => {
                let length = usize::try_from(first).unwrap_or(0).min(*size as usize);
                Value::Bytes(bytes.get(8..8 + length).unwrap_or_default().to_vec())
            }
            Type::Tuple(items) => {
                let mut at = 0;
                let decode = |item: &Type| {
                    let room = item.room() as usize;
                    let value = Value::decode(item, bytes.get(at..at + room).unwrap_or_default());
                    at += room;
                    value
                };
                Value::Tuple(items.iter().map(decode).collect())
            }
            Type::Stack(space, depth) => Value::Stack { space: *space, number: first.cast_signed(), depth: *depth },
            Type::Symbol(space) => {
                Value::Symbol { space: *space, address: first, process: u32::try_from(word(bytes, 8)).unwrap_or(0) }
            }
            Type::Address => Value::Text(address(first, bytes.get(8..24).unwrap_or_default()).into_bytes()),
            Type::Mac => {
                let bytes: Vec<String> = bytes.iter().take(6).map(|byte| format!("{byte:02X}")).collect();
                Value::Text(bytes.join(":").into_bytes())
            }
            Type::Array(..) | Type::Record(_) => {
                let size = ty.size() as usize;
                Value::Bytes(bytes.get(..size).unwrap_or_default().to_vec())
            }
            _ => Value::Unsigned(first),
        }
    }

    /// The number that it is, for conversions that take one.
    pub(super) fn number(&self) -> i64 {
        match self {
            Value::Signed(number) => *number,
            Value::Unsigned(number) | Value::Pointer(number) => number.cast_signed(),
            Value::Bool(value) => i64::from(*value),
            _ => 0,
        }
    }

    /// As `print` writes it.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            // A stack that is not resolved is its number.
            Value::Signed(number) | Value::Stack { number, .. } => write!(out, "{number}"),
            Value::Unsigned(number) => write!(out, "{number}"),
            Value::Bool(value) => write!(out, "{value}"),
            Value::Pointer(address) | Value::Symbol { address, .. } => write!(out, "{address:#x}"),
            Value::Text(text) => out.write_all(text),
            Value::Bytes(bytes) => out.write_all(escaped(bytes, true).as_bytes()),
            Value::Tuple(items) => {
                out.write_all(b"(")?;
                write_list(items, out)?;
                out.write_all(b")")
            }
        }
    }

    /// As a key: a tuple's parts without parentheses.
    pub(super) fn write_key(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Value::Tuple(items) => write_list(items, out),
            other => other.write(out),
        }
    }
}

fn write_list(items: &[Value], out: &mut dyn Write) -> io::Result<()> {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.write_all(b", ")?;
        }
        item.write(out)?;
    }
    Ok(())
}

/// Bytes as text; what is no letter, or every byte, as `\x01`.
pub(super) fn escaped(bytes: &[u8], letters: bool) -> String {
    let one = |byte: &u8| match byte {
        b' '..=b'~' if letters => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

fn address(family: u64, bytes: &[u8]) -> String {
    const INET6: u64 = 10;
    let six: Option<[u8; 16]> = bytes.try_into().ok();
    match (family, six) {
        (INET6, Some(bytes)) => Ipv6Addr::from(bytes).to_string(),
        (_, Some([a, b, c, d, ..])) => Ipv4Addr::new(a, b, c, d).to_string(),
        _ => String::new(),
    }
}

/// The time of day in UTC, in a format of `strftime(3)`.
pub(super) fn time_of_day(format: &str) -> String {
    let now = time::OffsetDateTime::now_utc();
    let (hour, minute, second) = now.to_hms();
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let Some(conversion) = letters.next() else {
            text.push('%');
            break;
        };
        let piece = match conversion {
            'H' => format!("{hour:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'Y' => now.year().to_string(),
            'm' => format!("{:02}", u8::from(now.month())),
            'd' => format!("{:02}", now.day()),
            'F' => now.date().to_string(),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'f' => format!("{:06}", now.microsecond()),
            's' => now.unix_timestamp().to_string(),
            'n' => "\n".to_owned(),
            '%' => "%".to_owned(),
            other => format!("%{other}"),
        };
        text.push_str(&piece);
    }
    text
}
