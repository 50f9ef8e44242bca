//! Text into tokens, one at a time.
//!
//! What a character means depends on where it stands: `kprobe:tcp_*` is one attach point before a probe's braces and
//! an operator inside them, and a slash ends a predicate only when the braces follow. So the lexer keeps track of its
//! place in the script. It never fails: what is no token is reported and left out.

mod head;
mod number;
mod text;
mod token;

pub(crate) use number::value as number_value;
pub use token::{Token, TokenKind};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::{Source, Span};

/// Operators and brackets; a longer one comes before its prefixes.
const SYMBOLS: &[&str] = &[
    "<<=", ">>=", "...", "++", "--", "&&", "||", "->", "..", "=>", "==", "!=", "<=", ">=", "<<", ">>", "+=", "-=",
    "*=", "/=", "%=", "&=", "|=", "^=", "{", "}", "(", ")", "[", "]", ";", ",", ":", "?", "=", "<", ">", "+", "-", "*",
    "/", "%", "&", "|", "^", "!", "~", ".",
];

/// Words that begin something other than a probe at the top of a script.
const ITEMS: &[&str] = &[
    "struct",
    "union",
    "enum",
    "typedef",
    "config",
    "fn",
    "macro",
    "import",
    "let",
    "__attribute__",
    "const",
    "static",
];

/// Where in the script the lexer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between probes and definitions.
    Top,
    /// In a definition or `config` block; with `true` it goes on behind its closing brace, up to a semicolon.
    Item(bool),
    /// In the attach points of a probe.
    Head,
    /// Between the slashes of a predicate.
    Predicate,
    /// Inside a probe's braces.
    Body,
    /// In a piece of text of its own: the body of a macro.
    Fragment,
}

/// Reads tokens from a script.
#[derive(Debug, Clone)]
pub struct Lexer<'s> {
    text: &'s str,
    at: usize,
    end: usize,
    place: Place,
    depth: u32,
}

impl<'s> Lexer<'s> {
    /// A lexer for a whole script.
    pub fn new(source: &'s Source) -> Self {
        let text = source.text();
        Lexer { text, at: 0, end: text.len(), place: Place::Top, depth: 0 }
    }

    /// A lexer for a part of the script that holds expressions or statements only.
    pub fn fragment(source: &'s Source, span: Span) -> Self {
        let text = source.text();
        let range = span.range();
        Lexer { text, at: range.start, end: range.end.min(text.len()), place: Place::Fragment, depth: 0 }
    }

    /// The next token; [`TokenKind::End`] for ever after the last one.
    pub fn next(&mut self, diagnostics: &mut Diagnostics) -> Token {
        loop {
            self.skip_blanks(diagnostics);
            let start = self.at;
            let Some(byte) = self.peek(0) else {
                return Token { kind: TokenKind::End, span: Span::new(self.end, self.end) };
            };
            let token = match (self.place, byte) {
                (Place::Fragment, b'#') => None,
                (_, b'#') => Some(self.directive()),
                (Place::Top, _) => self.top(byte, diagnostics),
                (Place::Head, _) => self.head(byte, diagnostics),
                (Place::Predicate, b'/') if self.braces_follow() => {
                    self.at += 1;
                    self.place = Place::Head;
                    Some(TokenKind::PredicateEnd)
                }
                _ => self.ordinary(byte, diagnostics),
            };
            if let Some(kind) = token {
                self.follow(&kind);
                return Token { kind, span: Span::new(start, self.at) };
            }
            if self.at == start {
                self.skip_unknown(diagnostics);
            }
        }
    }

    /// Skips text that a condition of the preprocessor leaves out, up to the next line with a directive.
    pub fn skip_to_directive(&mut self) {
        while self.at < self.end {
            let line = self.text.get(self.at..self.end).unwrap_or_default();
            if line.trim_start_matches([' ', '\t']).starts_with('#') {
                return;
            }
            self.at = line.find('\n').map_or(self.end, |length| self.at + length + 1);
        }
    }

    /// The byte that many bytes ahead.
    fn peek(&self, ahead: usize) -> Option<u8> {
        let at = self.at + ahead;
        if at < self.end { self.text.as_bytes().get(at).copied() } else { None }
    }

    /// The text not yet read.
    fn rest(&self) -> &'s str {
        self.text.get(self.at..self.end).unwrap_or_default()
    }

    /// Reads bytes while they fit and returns them as text.
    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'s str {
        let start = self.at;
        while self.peek(0).is_some_and(&fits) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn take_word(&mut self) -> &'s str {
        self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self, diagnostics: &mut Diagnostics) {
        loop {
            let (start, rest) = (self.at, self.rest());
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let length = rest.get(2..).and_then(|inside| inside.find("*/"));
                self.at = length.map_or(self.end, |length| start + length + 4);
                if length.is_none() {
                    let text = "this comment is not closed";
                    let opened = Span::new(start, start + 2);
                    diagnostics.push(Diagnostic::error("unterminated-comment", text, opened).here("it begins here"));
                }
            } else if rest.starts_with("\\\n") || rest.starts_with("\\\r\n") {
                self.at += 1;
            } else {
                self.take_while(|byte| byte.is_ascii_whitespace() || byte == 0x0b);
            }
            if self.at == start {
                return;
            }
        }
    }

    /// Whether nothing but blanks and comments stands between the slash here and an opening brace.
    fn braces_follow(&self) -> bool {
        let mut ahead = Lexer { at: self.at + 1, ..self.clone() };
        ahead.skip_blanks(&mut Diagnostics::default());
        matches!(ahead.peek(0), Some(b'{'))
    }

    /// A line with `#`, and the lines that a backslash at its end adds.
    fn directive(&mut self) -> TokenKind {
        self.at += 1;
        let start = self.at;
        loop {
            let line = self.rest();
            let length = line.find('\n').unwrap_or(line.len());
            self.at += length;
            let goes_on = line.get(..length).is_some_and(|line| line.trim_end_matches('\r').ends_with('\\'));
            if !goes_on || self.at == self.end {
                return TokenKind::Directive(Span::new(start, self.at));
            }
            self.at += 1;
        }
    }

    fn top(&mut self, byte: u8, diagnostics: &mut Diagnostics) -> Option<TokenKind> {
        let word = self.clone().take_word();
        if ITEMS.contains(&word) {
            self.place = Place::Item(!matches!(word, "struct" | "union" | "enum" | "config" | "fn" | "macro"));
            return self.ordinary(byte, diagnostics);
        }
        if matches!(byte, b';' | b'}') {
            return self.ordinary(byte, diagnostics);
        }
        self.place = Place::Head;
        self.head(byte, diagnostics)
    }

    /// A token of definitions, expressions and statements.
    fn ordinary(&mut self, byte: u8, diagnostics: &mut Diagnostics) -> Option<TokenKind> {
        match byte {
            b'0'..=b'9' => Some(self.number(diagnostics)),
            b'"' => Some(self.text(diagnostics)),
            b'\'' => Some(self.character(diagnostics)),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Some(TokenKind::Word(self.take_word().to_owned())),
            b'@' => {
                self.at += 1;
                let named = self.peek(0).is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
                Some(TokenKind::Map(if named { self.take_word().to_owned() } else { String::new() }))
            }
            b'$' => self.dollar(diagnostics),
            _ => {
                let symbol = *SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol))?;
                self.at += symbol.len();
                Some(TokenKind::Symbol(symbol))
            }
        }
    }

    /// `$x`, `$1` or `$#`.
    fn dollar(&mut self, diagnostics: &mut Diagnostics) -> Option<TokenKind> {
        let start = self.at;
        match self.peek(1)? {
            b'#' => {
                self.at += 2;
                Some(TokenKind::ParameterCount)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                self.at += 1;
                Some(TokenKind::Scratch(self.take_word().to_owned()))
            }
            b'0'..=b'9' => {
                self.at += 1;
                let digits = self.take_while(|byte| byte.is_ascii_digit());
                let number = digits.parse().unwrap_or_default();
                if number == 0 {
                    let message = format!("there is no parameter `${digits}`");
                    let error = Diagnostic::error("parameter-number", message, Span::new(start, self.at));
                    diagnostics.push(error.because("parameters are numbered from 1; `$#` is how many there are"));
                }
                Some(TokenKind::Positional(number))
            }
            _ => None,
        }
    }

    /// Keeps the place in step with the token just read.
    fn follow(&mut self, token: &TokenKind) {
        if self.place == Place::Fragment {
            return;
        }
        match token {
            TokenKind::Symbol("{") => {
                if matches!(self.place, Place::Head | Place::Predicate) {
                    self.place = Place::Body;
                }
                self.depth += 1;
            }
            TokenKind::Symbol("}") => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 && self.place != Place::Item(true) {
                    self.place = Place::Top;
                }
            }
            TokenKind::Symbol(";") if self.depth == 0 => self.place = Place::Top,
            _ => {}
        }
    }

    /// Reports and skips characters that begin no token.
    fn skip_unknown(&mut self, diagnostics: &mut Diagnostics) {
        let start = self.at;
        let Some(character) = self.rest().chars().next() else { return };
        self.at += character.len_utf8();
        let span = Span::new(start, self.at);
        let message = match character {
            '$' => "`$` alone names nothing".to_owned(),
            '#' => "macros cannot make strings or join words with `#`".to_owned(),
            _ => format!("the character {character:?} has no meaning here"),
        };
        let error = Diagnostic::error("invalid-character", message, span);
        diagnostics.push(match character {
            '$' => error.because("scratch variables are `$name`, parameters `$1`, their number `$#`"),
            '“' | '”' | '‘' | '’' => error.suggest(span, "\"", "write a plain quote"),
            _ => error,
        });
    }
}
