//! Numbers: `255`, `0xff`, `0377`, `1_000_000`, `100UL`, `1e6`, `10ms`.

use super::{Lexer, TokenKind};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;

/// Units of durations and their nanoseconds.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// C's suffixes, in lower case; they change nothing.
const SIZES: &[&str] = &["", "u", "l", "ul", "ll", "ull"];

/// The value of a number as scripts write it, or why it has none. Also for numbers in attach points.
pub(crate) fn value(written: &str) -> Result<u64, String> {
    let digits: String = written.chars().filter(|character| *character != '_').collect();
    let lower = digits.to_ascii_lowercase();
    if written.ends_with('_') {
        return Err("a number ends with a digit, not with `_`".to_owned());
    }
    if let Some(hex) = lower.strip_prefix("0x") {
        let hex = hex.trim_end_matches(['u', 'l']);
        return u64::from_str_radix(hex, 16).map_err(|error| explain(&error));
    }
    let split = lower.find(|character: char| !character.is_ascii_digit()).unwrap_or(lower.len());
    let (number, suffix) = lower.split_at_checked(split).unwrap_or((&lower, ""));
    if let Some(exponent) =
        suffix.strip_prefix('e').filter(|exponent| exponent.starts_with(|c: char| c.is_ascii_digit()))
    {
        return scientific(number, exponent);
    }
    let octal = number.len() > 1 && number.starts_with('0');
    if octal && number.contains(['8', '9']) {
        return Err("a number that begins with 0 is octal: its digits go from 0 to 7".to_owned());
    }
    let count = u64::from_str_radix(number, if octal { 8 } else { 10 }).map_err(|error| explain(&error))?;
    if SIZES.contains(&suffix) {
        return Ok(count);
    }
    let unit = UNITS.iter().find(|(unit, _)| *unit == suffix);
    let (_, nanoseconds) = unit.ok_or_else(|| format!("`{suffix}` is neither a unit of time nor a size"))?;
    count.checked_mul(*nanoseconds).ok_or_else(|| "this duration has more nanoseconds than 64 bits hold".to_owned())
}

/// `2e3` as bpftrace has it: one digit, and an exponent up to 16.
fn scientific(number: &str, exponent: &str) -> Result<u64, String> {
    let coefficient: u64 = number.parse().map_err(|error| explain(&error))?;
    let exponent = exponent.trim_end_matches(['u', 'l']);
    let exponent: u32 = exponent.parse().map_err(|error| explain(&error))?;
    if coefficient > 9 {
        return Err(format!("the part before `e` is a single digit, not {coefficient}"));
    }
    if exponent > 16 {
        return Err(format!("the exponent goes up to 16, not {exponent}"));
    }
    Ok(coefficient * 10_u64.pow(exponent))
}

fn explain(error: &std::num::ParseIntError) -> String {
    match error.kind() {
        std::num::IntErrorKind::PosOverflow => "this number does not fit into 64 bits".to_owned(),
        _ => "this is not a number".to_owned(),
    }
}

impl Lexer<'_> {
    pub(super) fn number(&mut self, diagnostics: &mut Diagnostics) -> TokenKind {
        let start = self.at;
        let written = self.take_word();
        let span = Span::new(start, self.at);
        TokenKind::Int(value(written).unwrap_or_else(|reason| {
            let error = Diagnostic::error("invalid-number", format!("`{written}` is not a number"), span).here(reason);
            let binary = written.strip_prefix("0b").and_then(|bits| u64::from_str_radix(bits, 2).ok());
            diagnostics.push(match binary {
                Some(value) => error.suggest(span, format!("{value:#x}"), "binary numbers are written in hexadecimal"),
                None => error,
            });
            0
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn every_way_to_write_a_number() {
        let ways = [
            ("0", 0),
            ("1_000_000", 1_000_000),
            ("0x1F", 31),
            ("0XffUL", 255),
            ("0777", 511),
            ("100ull", 100),
            ("2e3", 2_000),
            ("1e1_0", 10_000_000_000),
            ("0x5e5", 0x5e5),
            ("10ms", 10_000_000),
            ("1d", 86_400_000_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (written, expected) in ways {
            assert_eq!(value(written), Ok(expected), "{written}");
        }
        for wrong in ["08", "12e4", "1e17", "1_", "1ulll", "1x", "18446744073709551616", "0x", "300000d", "1e", ""] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }
}
