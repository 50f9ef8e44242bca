//! Strings and, to refuse them well, characters.

use super::{Lexer, TokenKind};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;

/// How far apart two single quotes may be to belong together, in characters.
const MAX_CHARACTER: usize = 32;

impl Lexer<'_> {
    /// A string in double quotes; it ends at the end of its line at the latest.
    pub(super) fn text(&mut self, diagnostics: &mut Diagnostics) -> TokenKind {
        let start = self.at;
        let mut bytes = Vec::new();
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(b'"') => {
                    self.at += 1;
                    return TokenKind::Text(bytes);
                }
                None | Some(b'\n') => {
                    let span = Span::new(start, self.at);
                    let error = Diagnostic::error("unterminated-string", "this string is not closed", span);
                    diagnostics.push(error.suggest(span.after(), "\"", "close it"));
                    return TokenKind::Text(bytes);
                }
                Some(b'\\') => self.escape(&mut bytes, diagnostics),
                Some(byte) => {
                    bytes.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>, diagnostics: &mut Diagnostics) {
        let start = self.at;
        self.at += 1;
        let Some(escaped) = self.peek(0).filter(|byte| *byte != b'\n') else { return };
        let plain = match escaped {
            b'n' => Some(b'\n'),
            b't' => Some(b'\t'),
            b'r' => Some(b'\r'),
            b'"' | b'\\' => Some(escaped),
            _ => None,
        };
        if let Some(byte) = plain {
            self.at += 1;
            bytes.push(byte);
            return;
        }
        let problem = match escaped {
            b'0'..=b'7' => {
                let value = self.digits(3, 8);
                bytes.push(u8::try_from(value & 0xff).unwrap_or_default());
                (value > 0xff).then_some("an octal escape goes up to \\377")
            }
            b'x' | b'X' => {
                self.at += 1;
                let before = self.at;
                let value = self.digits(2, 16);
                bytes.push(u8::try_from(value).unwrap_or_default());
                (self.at == before).then_some("one or two hexadecimal digits follow \\x")
            }
            _ => {
                self.at += self.rest().chars().next().map_or(0, char::len_utf8);
                Some("strings know \\n, \\t, \\r, \\\\, \\\", \\123 (octal) and \\x1f (hexadecimal)")
            }
        };
        if let Some(reason) = problem {
            let span = Span::new(start, self.at);
            let written = self.text.get(span.range()).unwrap_or_default();
            let message = format!("`{written}` is no escape sequence");
            let error = Diagnostic::error("invalid-escape", message, span).because(reason);
            diagnostics.push(error.suggest(span.before(), "\\", "for a backslash, write two"));
        }
    }

    /// Up to that many digits as a number.
    fn digits(&mut self, most: usize, radix: u32) -> u32 {
        let mut value = 0;
        for _ in 0..most {
            let Some(digit) = self.peek(0).and_then(|byte| char::from(byte).to_digit(radix)) else { break };
            value = value * radix + digit;
            self.at += 1;
        }
        value
    }

    /// `'a'`: refused with its number, as the language has no characters.
    pub(super) fn character(&mut self, diagnostics: &mut Diagnostics) -> TokenKind {
        let start = self.at;
        // Looking no further than this keeps a line of many quotes from taking its length squared.
        let near = self.rest().char_indices().take(MAX_CHARACTER).last();
        let near = near.and_then(|(at, last)| self.rest().get(..at + last.len_utf8())).unwrap_or_default();
        let line = near.lines().next().unwrap_or_default();
        let closing = line.match_indices('\'').map(|(at, _)| at).nth(1);
        self.at += closing.map_or(1, |closing| closing + 1);
        let span = Span::new(start, self.at);
        let error = Diagnostic::error("character-literal", "the language has no characters in single quotes", span);
        let inside = closing.and_then(|closing| line.get(1..closing)).unwrap_or_default();
        let mut characters = inside.chars();
        diagnostics.push(match (characters.next(), characters.next()) {
            (Some(character), None) => {
                let number = u32::from(character).to_string();
                error.suggest(span, number, format!("write the number of {character:?}"))
            }
            _ if !inside.is_empty() => error.suggest(span, format!("\"{inside}\""), "strings have double quotes"),
            _ => error,
        });
        TokenKind::Int(0)
    }
}
