//! Tokens.

use crate::ast::AttachPoint;
use crate::source::Span;

/// A token and its place. Tokens that a macro made stand where the macro was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub span: Span,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword, a name of the language or an identifier.
    Word(String),
    /// A number; durations in nanoseconds.
    Int(u64),
    /// A string, escapes resolved.
    Text(Vec<u8>),
    /// `$x`, without the `$`.
    Scratch(String),
    /// `@x`, without the `@`.
    Map(String),
    /// `$1`.
    Positional(u32),
    /// `$#`.
    ParameterCount,
    /// An operator or bracket.
    Symbol(&'static str),
    /// A whole attach point.
    AttachPoint(AttachPoint),
    /// The slash before a predicate.
    PredicateStart,
    /// The slash behind a predicate.
    PredicateEnd,
    /// A line of the preprocessor: the place of the text behind `#`.
    Directive(Span),
    /// The end of the script.
    End,
}

impl TokenKind {
    /// Whether it is this operator or bracket.
    pub fn is(&self, symbol: &str) -> bool {
        matches!(self, TokenKind::Symbol(own) if *own == symbol)
    }

    /// The word, if it is one.
    pub fn word(&self) -> Option<&str> {
        if let TokenKind::Word(word) = self { Some(word) } else { None }
    }

    /// The token as an error message names it.
    pub fn describe(&self) -> String {
        match self {
            TokenKind::Word(word) => format!("`{word}`"),
            TokenKind::Int(value) => format!("the number {value}"),
            TokenKind::Text(_) => "a string".to_owned(),
            TokenKind::Scratch(name) => format!("`${name}`"),
            TokenKind::Map(name) => format!("`@{name}`"),
            TokenKind::Positional(number) => format!("`${number}`"),
            TokenKind::ParameterCount => "`$#`".to_owned(),
            TokenKind::Symbol(symbol) => format!("`{symbol}`"),
            TokenKind::AttachPoint(_) => "an attach point".to_owned(),
            TokenKind::PredicateStart | TokenKind::PredicateEnd => "`/`".to_owned(),
            TokenKind::Directive(_) => "a line with `#`".to_owned(),
            TokenKind::End => "the end of the script".to_owned(),
        }
    }
}
