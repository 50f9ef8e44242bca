//! Values as they lie in memory, where C put them: elements of arrays, members of structs and unions.

use super::value::Value;
use crate::check::type_by_id;
use crate::types::{Record, Type};

/// A value from memory.
pub(super) fn decode(ty: &Type, bytes: &[u8]) -> Value {
    match ty {
        Type::Int { size, signed } => integer(number(bytes, *size), u32::from(*size) * 8, *signed),
        Type::Enum(of) => match decode(&ty.nameless(), bytes) {
            Value::Unsigned(number) => Value::named(of, number.cast_signed()),
            other => Value::named(of, other.number()),
        },
        Type::Bool => Value::Bool(bytes.first().is_some_and(|byte| *byte != 0)),
        Type::Pointer { .. } => Value::Pointer(number(bytes, 8)),
        // Characters in a row are text.
        Type::Array(element, _) if **element == (Type::Int { size: 1, signed: true }) => {
            Value::Text(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
        }
        Type::Array(element, length) => {
            let size = element.size() as usize;
            let part = |index: usize| bytes.get(index * size..(index + 1) * size).unwrap_or_default();
            Value::List((0..*length as usize).map(|index| decode(element, part(index))).collect())
        }
        Type::Record(record) => {
            let mut members = Vec::new();
            read_members(record, bytes, &mut members);
            Value::Record(members)
        }
        _ => Value::Bytes(bytes.to_vec()),
    }
}

/// Members with their names; those of a member without a name count as its own.
fn read_members(Record { btf, id }: &Record, bytes: &[u8], members: &mut Vec<(String, Value)>) {
    for member in btf.members(*id).into_iter().flatten() {
        let ty = type_by_id(btf, member.id);
        let from = |start: u32| bytes.get((start / 8) as usize..).unwrap_or_default();
        let value = match (member.bit_size, &ty) {
            (None, Type::Record(inner)) if member.name.is_empty() => {
                read_members(inner, from(member.bit_offset), members);
                continue;
            }
            (None, _) => {
                let here = from(member.bit_offset);
                decode(&ty, here.get(..ty.size() as usize).unwrap_or(here))
            }
            // The bytes that a bit field lies in, which may be one more than its type has.
            (Some(width), _) => {
                let start = from(member.bit_offset);
                let word = start.iter().take(9).rev().fold(0_u128, |word, byte| word << 8 | u128::from(*byte));
                let bits = (word >> (member.bit_offset % 8)) & ((1_u128 << width) - 1);
                integer(u64::try_from(bits).unwrap_or(0), width, ty.is_signed())
            }
        };
        members.push((member.name.to_owned(), value));
    }
}

/// A number of so many bytes.
fn number(bytes: &[u8], size: u8) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes.iter().take(size.into())).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

/// A number of so many bits, which may have a sign.
fn integer(number: u64, bits: u32, signed: bool) -> Value {
    if !signed {
        return Value::Unsigned(number);
    }
    let above = 64_u32.saturating_sub(bits);
    Value::Signed((number << above).cast_signed() >> above)
}
