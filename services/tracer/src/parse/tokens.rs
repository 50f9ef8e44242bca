//! Looking at tokens, taking them, and saying what was expected instead.

use super::{Failed, MAX_HEIGHT, MAX_NESTING, Parser, Result};
use crate::ast::{Expression, ExpressionKind, Name};
use crate::diagnostic::Diagnostic;
use crate::lex::{Token, TokenKind};
use crate::source::Span;
use crate::words::KEYWORDS;

/// What stands behind the last token.
static END: Token = Token { kind: TokenKind::End, span: Span { start: 0, end: 0 } };

impl Parser<'_> {
    /// The next token.
    pub(super) fn peek(&self) -> &Token {
        self.ahead(0)
    }

    /// The token that many places ahead.
    pub(super) fn ahead(&self, places: usize) -> &Token {
        self.tokens.get(self.at + places).or_else(|| self.tokens.last()).unwrap_or(&END)
    }

    /// Takes the next token; the end stays where it is.
    pub(super) fn bump(&mut self) -> Token {
        let token = self.peek().clone();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    /// The place of the token taken last.
    pub(super) fn last_span(&self) -> Span {
        let last = self.at.checked_sub(1).and_then(|last| self.tokens.get(last));
        last.map_or(self.peek().span.before(), |token| token.span)
    }

    /// From that place to the token taken last.
    pub(super) fn since(&self, start: Span) -> Span {
        start.to(self.last_span())
    }

    /// Whether the next token is that operator or bracket.
    pub(super) fn at(&self, symbol: &str) -> bool {
        self.peek().kind.is(symbol)
    }

    /// Whether the next token is that word.
    pub(super) fn at_word(&self, word: &str) -> bool {
        self.peek().kind.word() == Some(word)
    }

    /// Takes the operator or bracket if it comes next.
    pub(super) fn eat(&mut self, symbol: &str) -> bool {
        let there = self.at(symbol);
        if there {
            self.bump();
        }
        there
    }

    /// Takes an operator or bracket that must come next.
    pub(super) fn expect(&mut self, symbol: &str, place: &str) -> Result<Span> {
        if self.at(symbol) {
            return Ok(self.bump().span);
        }
        self.unexpected(&format!("`{symbol}` {place}"))
    }

    /// A bracket that closes the one at `opened`.
    pub(super) fn expect_closing(&mut self, symbol: &str, opened: Span) -> Result<Span> {
        if self.at(symbol) {
            return Ok(self.bump().span);
        }
        let found = self.peek().clone();
        let message = format!("expected `{symbol}`, found {}", found.kind.describe());
        let error = Diagnostic::error("syntax", message, found.span).label(opened, "this bracket is still open");
        self.fail(if found.kind.is("=") { error.suggest(found.span, "==", "to compare, write two") } else { error })
    }

    /// A name that is no keyword.
    pub(super) fn name(&mut self, what: &str) -> Result<Name> {
        match &self.peek().kind {
            TokenKind::Word(word) if KEYWORDS.contains(&word.as_str()) => {
                let message = format!("`{word}` is a keyword and cannot name {what}");
                let error = Diagnostic::error("keyword", message, self.peek().span);
                self.fail(error)
            }
            TokenKind::Word(text) => {
                let name = Name { text: text.clone(), span: self.peek().span };
                self.bump();
                Ok(name)
            }
            _ => self.unexpected(&format!("the name of {what}")),
        }
    }

    /// The name of a field, which may be any word.
    pub(super) fn field_name(&mut self) -> Result<Name> {
        let Some(word) = self.peek().kind.word() else { return self.unexpected("the name of a field") };
        let name = Name { text: word.to_owned(), span: self.peek().span };
        self.bump();
        Ok(name)
    }

    /// A scratch variable.
    pub(super) fn scratch(&mut self) -> Result<Name> {
        let TokenKind::Scratch(name) = &self.peek().kind else { return self.unexpected("a variable such as `$x`") };
        let name = Name { text: name.clone(), span: self.peek().span };
        self.bump();
        Ok(name)
    }

    /// Reports that something else stands here.
    pub(super) fn unexpected<T>(&mut self, expected: &str) -> Result<T> {
        let found = self.peek().clone();
        let message = format!("expected {expected}, found {}", found.kind.describe());
        self.fail(Diagnostic::error("syntax", message, found.span))
    }

    /// Reports an error and gives up what is being read.
    pub(super) fn fail<T>(&mut self, error: Diagnostic) -> Result<T> {
        self.diagnostics.push(error);
        Err(Failed)
    }

    /// Reads something that may hold another of its kind, up to the bound on nesting.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_NESTING {
            let message = format!("this is nested more than {MAX_NESTING} deep");
            let span = self.peek().span;
            return self.fail(Diagnostic::error("too-deep", message, span));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Makes an expression one higher than the highest of its parts.
    pub(super) fn node(&mut self, kind: ExpressionKind, span: Span, parts: u32) -> Result<Expression> {
        self.height = parts + 1;
        if self.height > MAX_HEIGHT {
            let message = format!("this expression has more than {MAX_HEIGHT} operations inside one another");
            return self.fail(Diagnostic::error("too-deep", message, span));
        }
        Ok(Expression { span, kind })
    }
}
