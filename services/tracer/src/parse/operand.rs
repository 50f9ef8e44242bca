//! Operands: literals, variables, maps, calls, tuples, `sizeof`, `offsetof`.

use super::{Parser, Result};
use crate::ast::{Builtin, Expression, ExpressionKind, Function, MapAccess, Measured, Name, Variable};
use crate::diagnostic::Diagnostic;
use crate::lex::TokenKind;
use crate::source::Span;
use crate::words::{KEYWORDS, nearest};

impl Parser<'_> {
    pub(super) fn operand(&mut self) -> Result<Expression> {
        let token = self.peek().clone();
        let kind = match token.kind {
            TokenKind::Int(value) => ExpressionKind::Int(value),
            TokenKind::Text(bytes) => ExpressionKind::Text(bytes),
            TokenKind::Scratch(name) => ExpressionKind::Scratch(name),
            TokenKind::Positional(number) => ExpressionKind::Positional(number),
            TokenKind::ParameterCount => ExpressionKind::ParameterCount,
            TokenKind::Map(_) => {
                let access = self.map_access()?;
                let (span, height) = (access.span, self.height);
                return self.node(ExpressionKind::Map(access), span, height);
            }
            TokenKind::Symbol("(") => return self.parentheses(),
            TokenKind::Word(word) => return self.word(&word, token.span),
            _ => return self.unexpected("an expression"),
        };
        self.bump();
        self.node(kind, token.span, 0)
    }

    /// `@x`, `@x[key]`, `@[a, b]`; leaves the key's height.
    pub(super) fn map_access(&mut self) -> Result<MapAccess> {
        let token = self.bump();
        let text = if let TokenKind::Map(text) = token.kind { text } else { String::new() };
        let name = Name { text, span: token.span };
        self.height = 0;
        if !self.at("[") {
            return Ok(MapAccess { span: token.span, name, key: None });
        }
        let opened = self.bump().span;
        if self.at("]") {
            let error = Diagnostic::error("empty-key", "a map's brackets hold a key", opened.to(self.peek().span));
            return self.fail(error.because("a map without keys is written without brackets"));
        }
        let mut keys = self.list()?;
        let height = self.height;
        let closed = self.expect_closing("]", opened)?;
        let key = match (keys.pop(), keys.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                keys.extend(last);
                let inside = keys.first().map_or(opened, |first| first.span.to(opened.after()));
                let span = keys.iter().fold(inside, |span, key| span.to(key.span));
                self.node(ExpressionKind::Tuple(keys), span, height)?
            }
        };
        Ok(MapAccess { span: token.span.to(closed), name, key: Some(Box::new(key)) })
    }

    /// Expressions with commas between them, at least one; leaves the height of the highest.
    fn list(&mut self) -> Result<Vec<Expression>> {
        let mut list = vec![self.expression()?];
        let mut height = self.height;
        while self.eat(",") {
            list.push(self.expression()?);
            height = height.max(self.height);
        }
        self.height = height;
        Ok(list)
    }

    /// `(a)` or the tuple `(a, b)`.
    fn parentheses(&mut self) -> Result<Expression> {
        let opened = self.bump().span;
        if self.at(")") {
            let error = Diagnostic::error("empty-parentheses", "there is nothing in these parentheses", opened);
            return self.fail(error.because("a tuple has at least two elements"));
        }
        let mut list = self.list()?;
        let height = self.height;
        let span = opened.to(self.expect_closing(")", opened)?);
        match (list.pop(), list.is_empty()) {
            (Some(only), true) => Ok(Expression { span, ..only }),
            (element, _) => {
                list.extend(element);
                self.node(ExpressionKind::Tuple(list), span, height)
            }
        }
    }

    fn word(&mut self, word: &str, span: Span) -> Result<Expression> {
        match word {
            "sizeof" => return self.size_of(),
            "offsetof" => return self.offset_of(),
            "true" | "false" => {
                self.bump();
                return self.node(ExpressionKind::Bool(word == "true"), span, 0);
            }
            _ if KEYWORDS.contains(&word) => {
                let message = format!("expected an expression, found the keyword `{word}`");
                return self.fail(Diagnostic::error("syntax", message, span));
            }
            _ => {}
        }
        self.bump();
        if self.at("(") {
            return self.call(word, span);
        }
        if let Some(builtin) = Builtin::from_name(word) {
            return self.node(ExpressionKind::Builtin(builtin), span, 0);
        }
        if let Some(function) = Function::from_name(word) {
            let error = Diagnostic::error("function-name", format!("`{word}` is a function"), span);
            let error = match function {
                Function::Count => error.suggest(span.after(), "()", "call it"),
                _ => error.because(format!("call it with its arguments: `{word}(…)`")),
            };
            self.diagnostics.push(error);
        }
        self.node(ExpressionKind::Identifier(word.to_owned()), span, 0)
    }

    fn call(&mut self, word: &str, name_span: Span) -> Result<Expression> {
        let opened = self.bump().span;
        self.height = 0;
        let arguments = if self.at(")") { Vec::new() } else { self.list()? };
        let height = self.height;
        let closed = self.expect_closing(")", opened)?;
        let span = name_span.to(closed);
        let Some(function) = Function::from_name(word) else {
            let error = unknown_function(word, name_span, arguments.is_empty().then_some(opened.to(closed)));
            self.diagnostics.push(error);
            return self.node(ExpressionKind::Tuple(arguments), span, height); // Never seen: the script is refused.
        };
        if let Some(reason) = function.refusal() {
            let error = Diagnostic::error("refused-function", format!("`{word}` is not available"), name_span);
            self.diagnostics.push(error.here(reason));
        }
        self.node(ExpressionKind::Call { function, name_span, arguments }, span, height)
    }

    fn size_of(&mut self) -> Result<Expression> {
        let start = self.bump().span;
        let opened = self.expect("(", "behind `sizeof`")?;
        self.height = 0;
        let of = self.measured()?;
        let height = self.height;
        self.expect_closing(")", opened)?;
        let span = self.since(start);
        self.node(ExpressionKind::SizeOf(of), span, height)
    }

    fn offset_of(&mut self) -> Result<Expression> {
        let start = self.bump().span;
        let opened = self.expect("(", "behind `offsetof`")?;
        self.height = 0;
        let of = self.measured()?;
        let height = self.height;
        self.expect(",", "and the name of a field")?;
        let mut path = vec![self.field_name()?];
        while self.eat(".") {
            path.push(self.field_name()?);
        }
        self.expect_closing(")", opened)?;
        let span = self.since(start);
        self.node(ExpressionKind::OffsetOf { of, path }, span, height)
    }

    /// A type, or a value whose type is meant.
    fn measured(&mut self) -> Result<Measured> {
        if self.at_type() {
            Ok(Measured::Type(self.written_type()?))
        } else {
            Ok(Measured::Value(Box::new(self.expression()?)))
        }
    }
}

/// `parentheses` are those of a call without arguments.
fn unknown_function(word: &str, span: Span, parentheses: Option<Span>) -> Diagnostic {
    if Builtin::from_name(word).is_some() {
        let error = Diagnostic::error("unknown-function", format!("`{word}` is a variable, not a function"), span);
        return match parentheses {
            Some(parentheses) => error.suggest(parentheses, "", "remove the parentheses"),
            None => error,
        };
    }
    let error = Diagnostic::error("unknown-function", format!("there is no function `{word}`"), span);
    let functions = Function::ALL.iter().filter(|function| function.refusal().is_none()).map(|known| known.name());
    if let Some(near) = nearest(word, functions) {
        return error.suggest(span, near, "a function has a similar name");
    }
    match nearest(word, Variable::ALL.iter().map(|variable| variable.name())) {
        Some(near) => error.because(format!("there is a variable `{near}`")),
        None => error,
    }
}
