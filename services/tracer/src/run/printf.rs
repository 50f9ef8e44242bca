//! `printf`.

use super::text;
use super::value::{Value, escaped};
use crate::check::narrowed;
use crate::format::{Conversion, Format, Letter, Piece};
use crate::types::Type;

/// Values in a format.
pub(super) fn formatted(format: &Format, values: &[Value]) -> Vec<u8> {
    let mut values = values.iter().zip(&format.types);
    let mut text = Vec::new();
    for piece in &format.pieces {
        match piece {
            Piece::Text(piece) => text.extend_from_slice(piece),
            Piece::Value(conversion) => {
                if let Some((value, ty)) = values.next() {
                    text.append(&mut converted(conversion, value, ty));
                }
            }
        }
    }
    text
}

fn converted(conversion: &Conversion, value: &Value, ty: &Type) -> Vec<u8> {
    let number = value.number();
    // C makes an `int` of what is smaller: without a sign, it has 32 bits.
    let bytes = if ty.is_signed() && ty.size() <= 4 { conversion.bytes.min(4) } else { conversion.bytes };
    let unsigned = narrowed(number, bytes, false).cast_unsigned();
    let digits = |digits: String, prefix: &str| {
        let least = conversion.precision.unwrap_or(0);
        numeric(conversion, prefix, &format!("{digits:0>least$}"))
    };
    match conversion.letter {
        Letter::Signed => {
            let number = narrowed(number, conversion.bytes, true);
            let sign = match (number < 0, conversion.plus, conversion.space) {
                (true, _, _) => "-",
                (false, true, _) => "+",
                (false, false, true) => " ",
                _ => "",
            };
            digits(number.unsigned_abs().to_string(), sign)
        }
        Letter::Unsigned => digits(unsigned.to_string(), ""),
        Letter::Hex => digits(format!("{unsigned:x}"), if conversion.prefix && unsigned != 0 { "0x" } else { "" }),
        Letter::UpperHex => digits(format!("{unsigned:X}"), if conversion.prefix && unsigned != 0 { "0X" } else { "" }),
        Letter::Octal => digits(format!("{unsigned:o}"), if conversion.prefix && unsigned != 0 { "0" } else { "" }),
        // As the C library writes a null pointer.
        Letter::Pointer if number == 0 => padded(conversion, b"(nil)".to_vec()),
        Letter::Pointer => digits(format!("{:x}", number.cast_unsigned()), "0x"),
        Letter::Character => padded(conversion, vec![number.to_le_bytes()[0]]),
        Letter::Text => {
            let mut text = text::value(value);
            if let Some(most) = conversion.precision {
                text.truncate(most);
            }
            padded(conversion, text)
        }
        Letter::Bytes | Letter::HexBytes | Letter::PlainHexBytes => {
            let bytes = match value {
                Value::Bytes(bytes) => bytes.as_slice(),
                _ => &[],
            };
            let text = match conversion.letter {
                Letter::Bytes => escaped(bytes, true),
                Letter::HexBytes => escaped(bytes, false),
                _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
            };
            padded(conversion, text.into_bytes())
        }
    }
}

/// A number with its sign or prefix, and zeroes or blanks up to the width.
fn numeric(conversion: &Conversion, prefix: &str, digits: &str) -> Vec<u8> {
    let length = prefix.len() + digits.len();
    if conversion.zeroes && !conversion.left && conversion.precision.is_none() && length < conversion.width {
        let width = conversion.width - prefix.len();
        return format!("{prefix}{digits:0>width$}").into_bytes();
    }
    padded(conversion, format!("{prefix}{digits}").into_bytes())
}

fn padded(conversion: &Conversion, mut text: Vec<u8>) -> Vec<u8> {
    let missing = conversion.width.saturating_sub(text.len());
    if conversion.left {
        text.resize(text.len() + missing, b' ');
        return text;
    }
    let mut all = vec![b' '; missing];
    all.append(&mut text);
    all
}
