//! What `printf` writes: text, and how values stand in it.

/// A format, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// In order.
    pub pieces: Vec<Piece>,
    /// The types of the values, in order.
    pub types: Vec<crate::types::Type>,
}

/// A piece of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(Vec<u8>),
    /// The next value.
    Value(Conversion),
}

/// How a value is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of C's `printf`")]
pub struct Conversion {
    /// `-`: to the left of its room.
    pub left: bool,
    /// `0`: zeroes before numbers.
    pub zeroes: bool,
    /// `+`: a sign also before positive numbers.
    pub plus: bool,
    /// ` `: a space before positive numbers.
    pub space: bool,
    /// `#`: `0x` before hexadecimal numbers.
    pub prefix: bool,
    /// Characters at least.
    pub width: usize,
    /// Of text, bytes at most; of numbers, digits at least.
    pub precision: Option<usize>,
    /// Bytes of a number that count; 8 where no length is written.
    pub bytes: u8,
    /// The letter.
    pub letter: Letter,
}

/// What kind of value a conversion takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Letter {
    /// `d`, `i`: a signed number.
    #[default]
    Signed,
    /// `u`: an unsigned number.
    Unsigned,
    /// `x`: hexadecimal.
    Hex,
    /// `X`: hexadecimal in capitals.
    UpperHex,
    /// `o`: octal.
    Octal,
    /// `p`: a pointer.
    Pointer,
    /// `c`: a character.
    Character,
    /// `s`: text.
    Text,
    /// `r`: bytes; what is no letter, as `\x01`.
    Bytes,
    /// `rx`: bytes in hexadecimal.
    HexBytes,
    /// `rh`: the same without `\x`.
    PlainHexBytes,
}

impl Letter {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            Letter::Signed => "d",
            Letter::Unsigned => "u",
            Letter::Hex => "x",
            Letter::UpperHex => "X",
            Letter::Octal => "o",
            Letter::Pointer => "p",
            Letter::Character => "c",
            Letter::Text => "s",
            Letter::Bytes => "r",
            Letter::HexBytes => "rx",
            Letter::PlainHexBytes => "rh",
        }
    }
}

/// Why a format cannot be used: the bytes in question, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The conversion as far as it was read.
    pub conversion: String,
}

/// Takes a format apart. A `%` that nothing follows stays what it is.
pub fn pieces(format: &[u8]) -> Result<Vec<Piece>, Unusable> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut rest = format;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'%', [b'%', after @ ..]) => {
                text.push(b'%');
                rest = after;
            }
            (b'%', [_, ..]) => {
                let (conversion, after) = conversion(behind)?;
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Value(conversion));
                rest = after;
            }
            _ => text.push(*first),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Longest widths and precisions, in characters: a mistyped one must not fill the memory.
const MAX_WIDTH: usize = 4096;

fn conversion(format: &[u8]) -> Result<(Conversion, &[u8]), Unusable> {
    let mut found = Conversion { bytes: 8, ..Conversion::default() };
    let mut rest = format;
    loop {
        match rest {
            [b'-', ..] => found.left = true,
            [b'0', ..] => found.zeroes = true,
            [b'+', ..] => found.plus = true,
            [b' ', ..] => found.space = true,
            [b'#', ..] => found.prefix = true,
            _ => break,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    let (width, behind) = digits(rest);
    found.width = width.unwrap_or(0);
    rest = behind;
    if let [b'.', behind @ ..] = rest {
        let (precision, behind) = digits(behind);
        found.precision = Some(precision.unwrap_or(0));
        rest = behind;
    }
    for (length, bytes) in [(&b"hh"[..], 1), (b"h", 2), (b"ll", 8), (b"l", 8), (b"j", 8), (b"z", 8)] {
        if let Some(behind) = rest.strip_prefix(length) {
            found.bytes = bytes;
            rest = behind;
            break;
        }
    }
    let letters = [
        (&b"rx"[..], Letter::HexBytes),
        (b"rh", Letter::PlainHexBytes),
        (b"r", Letter::Bytes),
        (b"d", Letter::Signed),
        (b"i", Letter::Signed),
        (b"u", Letter::Unsigned),
        (b"x", Letter::Hex),
        (b"X", Letter::UpperHex),
        (b"o", Letter::Octal),
        (b"p", Letter::Pointer),
        (b"c", Letter::Character),
        (b"s", Letter::Text),
    ];
    for (text, letter) in letters {
        if let Some(behind) = rest.strip_prefix(text) {
            found.letter = letter;
            return Ok((found, behind));
        }
    }
    let read = format.len() - rest.len() + 1;
    let conversion = String::from_utf8_lossy(format.get(..read).unwrap_or(format)).into_owned();
    Err(Unusable { conversion: format!("%{conversion}") })
}

fn digits(text: &[u8]) -> (Option<usize>, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
    let too_long = (!digits.is_empty()).then_some(MAX_WIDTH);
    (number.map(|number| number.min(MAX_WIDTH)).or(too_long), rest)
}
