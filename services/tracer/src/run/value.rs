//! Values as they came out of the kernel: typed, not yet text.

use crate::types::Enumeration;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A number with sign.
    Signed(i64),
    /// A number without.
    Unsigned(u64),
    /// A number that has a name, or may have one.
    Named {
        /// The number.
        number: i64,
        /// Its name.
        name: Option<String>,
    },
    /// `true` or `false`.
    Bool(bool),
    /// An address of data.
    Pointer(u64),
    /// Text, without the zero behind it: also names of code, stacks, addresses of machines and times.
    Text(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values side by side.
    Tuple(Vec<Value>),
    /// Values of one type in a row.
    List(Vec<Value>),
    /// Members of a struct or union, with their names.
    Record(Vec<(String, Value)>),
}

impl Value {
    /// A number of an enumeration.
    pub(super) fn named(of: &Enumeration, number: i64) -> Self {
        Value::Named { number, name: of.name(number).map(str::to_owned) }
    }

    /// The number that it is, for conversions that take one.
    pub(super) fn number(&self) -> i64 {
        match self {
            Value::Signed(number) | Value::Named { number, .. } => *number,
            Value::Unsigned(number) | Value::Pointer(number) => number.cast_signed(),
            Value::Bool(value) => i64::from(*value),
            _ => 0,
        }
    }

    /// A number divided; what is no number stays.
    pub(super) fn divided(&self, divisor: u64) -> Self {
        match self {
            Value::Signed(number) if divisor > 0 => Value::Signed(number / i64::try_from(divisor).unwrap_or(i64::MAX)),
            Value::Unsigned(number) if divisor > 0 => Value::Unsigned(number / divisor),
            other => other.clone(),
        }
    }
}

/// Bytes as text; what is no letter, or every byte, as `\x01`.
pub(super) fn escaped(bytes: &[u8], letters: bool) -> String {
    let one = |byte: &u8| match byte {
        b' '..=b'~' if letters => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}
