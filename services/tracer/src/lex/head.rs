//! Attach points: everything before a probe's predicate and braces.

use super::{Lexer, Place, TokenKind};
use crate::ast::{AttachPoint, Part, Piece};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;
use crate::words::Provider;

impl Lexer<'_> {
    pub(super) fn head(&mut self, byte: u8, diagnostics: &mut Diagnostics) -> Option<TokenKind> {
        match byte {
            b'/' => {
                self.at += 1;
                self.place = Place::Predicate;
                Some(TokenKind::PredicateStart)
            }
            b'{' | b'}' | b',' | b';' | b'(' | b')' | b'=' => self.ordinary(byte, diagnostics),
            _ => self.attach_point(diagnostics).map(TokenKind::AttachPoint),
        }
    }

    /// Parts with colons between them; nothing where not even a part begins.
    fn attach_point(&mut self, diagnostics: &mut Diagnostics) -> Option<AttachPoint> {
        let start = self.at;
        let mut parts = Vec::new();
        let mut path = false;
        loop {
            let part = self.part(path, diagnostics);
            if parts.is_empty() {
                let provider = if let [Piece::Text(word)] = part.pieces.as_slice() { word.as_str() } else { "" };
                path = provider.contains('*') || Provider::from_word(provider).is_some_and(Provider::takes_path);
            }
            parts.push(part);
            let end = self.at;
            self.take_while(|byte| byte == b' ' || byte == b'\t');
            if self.peek(0) != Some(b':') {
                self.at = end;
                break;
            }
            self.at += 1;
            let colon = self.at;
            self.take_while(|byte| byte == b' ' || byte == b'\t');
            if matches!(self.peek(0), None | Some(b'{' | b',' | b'\n' | b'\r')) {
                self.at = colon;
            }
        }
        (self.at > start).then(|| AttachPoint { span: Span::new(start, self.at), parts })
    }

    /// One part; empty where nothing fits.
    fn part(&mut self, path: bool, diagnostics: &mut Diagnostics) -> Part {
        let start = self.at;
        let mut pieces = Vec::new();
        let mut text = String::new();
        while let Some(byte) = self.peek(0) {
            match byte {
                b'"' => {
                    if let TokenKind::Text(bytes) = self.text(diagnostics) {
                        text.push_str(&String::from_utf8_lossy(&bytes));
                    }
                }
                b'$' if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) => {
                    let before = self.at;
                    if let Some(TokenKind::Positional(number)) = self.dollar(diagnostics) {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(Piece::Positional(number));
                    }
                    self.check_parameter_end(before, diagnostics);
                }
                b'\\' if path && self.peek(1).is_some_and(|byte| byte.is_ascii_graphic()) => {
                    text.extend(self.peek(1).map(char::from));
                    self.at += 2;
                }
                _ if fits(byte) || (path && byte == b'/') || (byte == b'#' && self.at > start) => {
                    text.push(char::from(byte));
                    self.at += 1;
                }
                _ => break,
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Part { span: Span::new(start, self.at), pieces }
    }

    /// Refuses `$1abc`, which bpftrace refuses too: is it parameter 1 or a name?
    fn check_parameter_end(&mut self, start: usize, diagnostics: &mut Diagnostics) {
        let end = self.at;
        let trailing = self.take_word();
        if !trailing.is_empty() {
            let span = Span::new(end, self.at);
            let message = format!("`{trailing}` directly behind a positional parameter");
            let error = Diagnostic::error("parameter-in-name", message, span);
            let error = error.label(Span::new(start, end), "the parameter ends here");
            diagnostics.push(error.suggest(span, format!("\"{trailing}\""), "put the text behind it in quotes"));
        }
    }
}

/// Characters of names, patterns, numbers and offsets.
fn fits(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.*[]+".contains(&byte)
}
