//! Values from the kernel's memory, with names in place of numbers that only this kernel knows.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::symbols::Symbols;
use super::value::Value;
use super::{clock, layout, stack};
use crate::load::Loaded;
use crate::types::{Space, Type};

/// What it takes to read values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder<'t> {
    pub(super) symbols: &'t Symbols,
    pub(super) loaded: &'t Loaded,
}

impl Decoder<'_> {
    /// From memory, laid out as [`Type::room`] says.
    pub(super) fn value(self, ty: &Type, bytes: &[u8]) -> Value {
        let first = word(bytes, 0);
        match ty {
            Type::Int { signed: true, .. } => Value::Signed(first.cast_signed()),
            Type::Enum(of) => Value::named(of, first.cast_signed()),
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
            Type::Tuple(items) => Value::Tuple(self.values(items, bytes)),
            Type::Stack(space, frames) => {
                let text = stack::text(self.symbols, *space, first.cast_signed(), *frames, self.loaded);
                Value::Text(text.into_bytes())
            }
            Type::Symbol(space) => {
                let name = match space {
                    Space::Kernel => self.symbols.name(first),
                    Space::User => None,
                };
                Value::Text(name.map_or_else(|| format!("{first:#x}"), |(name, _)| name.to_owned()).into_bytes())
            }
            Type::Address => Value::Text(address(first, bytes.get(8..24).unwrap_or_default()).into_bytes()),
            Type::Mac => {
                let bytes: Vec<String> = bytes.iter().take(6).map(|byte| format!("{byte:02X}")).collect();
                Value::Text(bytes.join(":").into_bytes())
            }
            Type::Error => Value::Text(error(first.cast_signed()).into_bytes()),
            Type::Time(format) => Value::Text(clock::since_boot(format, first)),
            Type::Array(..) | Type::Record(_) => {
                layout::decode(ty, bytes.get(..ty.size() as usize).unwrap_or_default())
            }
            _ => Value::Unsigned(first),
        }
    }

    /// Values side by side.
    pub(super) fn values(self, types: &[Type], bytes: &[u8]) -> Vec<Value> {
        let mut at = 0;
        let one = |ty: &Type| {
            let room = ty.room() as usize;
            let value = self.value(ty, bytes.get(at..at + room).unwrap_or_default());
            at += room;
            value
        };
        types.iter().map(one).collect()
    }
}

/// Eight bytes as a number.
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// What the C library says of an error; of its number, programs hand on 64 bits, and the library takes 32.
fn error(number: i64) -> String {
    let low = number.to_le_bytes().first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
    let said = io::Error::from_raw_os_error(low).to_string();
    said.strip_suffix(&format!(" (os error {low})")).map(str::to_owned).unwrap_or(said)
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
