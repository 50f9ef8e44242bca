//! Types in expressions and declarations, and how to tell them from values.

use super::{Parser, Result};
use crate::ast::{Builtin, Expression, Function, Tag, Type, TypeKind};
use crate::diagnostic::Diagnostic;
use crate::lex::TokenKind;
use crate::words::{C_TYPE_WORDS, KEYWORDS, TYPES};

/// How many stars and brackets a type may have.
pub(super) const MAX_SUFFIXES: usize = 16;

impl Parser<'_> {
    /// `struct sock *`, `uint8[4]`, `string[16]`, `size_t`.
    pub(super) fn written_type(&mut self) -> Result<Type> {
        let start = self.peek().span;
        let base = self.named_type()?;
        let mut ty = base;
        for _ in 0..=MAX_SUFFIXES {
            let kind = if self.eat("*") {
                TypeKind::Pointer(Box::new(ty))
            } else if self.at("[") {
                TypeKind::Array(Box::new(ty), self.array_length()?)
            } else {
                return Ok(ty);
            };
            ty = Type { span: self.since(start), kind };
        }
        let message = format!("this type has more than {MAX_SUFFIXES} stars and brackets");
        self.fail(Diagnostic::error("too-deep", message, self.since(start)))
    }

    /// `[16]`, `[]`.
    pub(super) fn array_length(&mut self) -> Result<Option<Box<Expression>>> {
        let opened = self.bump().span;
        let length = if self.at("]") { None } else { Some(Box::new(self.expression()?)) };
        self.expect_closing("]", opened)?;
        Ok(length)
    }

    /// The tag at the next token, if it is one.
    pub(super) fn tag(&self) -> Option<Tag> {
        match self.peek().kind.word()? {
            "struct" => Some(Tag::Struct),
            "union" => Some(Tag::Union),
            "enum" => Some(Tag::Enum),
            _ => None,
        }
    }

    /// A type without stars and brackets.
    pub(super) fn named_type(&mut self) -> Result<Type> {
        self.skip_qualifiers();
        let start = self.peek().span;
        let kind = if let Some(tag) = self.tag() {
            self.bump();
            TypeKind::Tagged(tag, self.name("a type")?.text)
        } else {
            TypeKind::Named(self.type_words()?)
        };
        let span = self.since(start);
        self.skip_qualifiers();
        Ok(Type { span, kind })
    }

    /// One word, or several of C's: `unsigned long`.
    fn type_words(&mut self) -> Result<String> {
        let Some(first) = self.peek().kind.word().map(ToOwned::to_owned) else { return self.unexpected("a type") };
        if !C_TYPE_WORDS.contains(&first.as_str()) {
            return Ok(self.name("a type")?.text);
        }
        let mut words = Vec::new();
        while let Some(word) = self.peek().kind.word().filter(|word| C_TYPE_WORDS.contains(word)) {
            words.push(word.to_owned());
            self.bump();
            self.skip_qualifiers();
            if words.len() > 4 {
                return self.unexpected("a type of at most four words");
            }
        }
        Ok(words.join(" "))
    }

    /// `const` and `volatile` mean nothing here.
    pub(super) fn skip_qualifiers(&mut self) {
        while self.at_word("const") || self.at_word("volatile") {
            self.bump();
        }
    }

    /// Whether the parenthesis here begins a cast.
    pub(super) fn at_cast(&self) -> bool {
        self.at("(") && self.type_ahead(1)
    }

    /// Whether a type begins here, inside the parentheses of `sizeof`.
    pub(super) fn at_type(&self) -> bool {
        self.is_type_word(0) || (self.is_plain_name(0) && self.stars_then_close(1).is_some_and(|stars| stars > 0))
    }

    fn type_ahead(&self, at: usize) -> bool {
        if self.is_type_word(at) {
            return true;
        }
        // A plain name in parentheses is a type if a value follows, as in bpftrace: `(size_t)arg2`, `(u32)-1`.
        match self.stars_then_close(at + 1) {
            Some(stars) if self.is_plain_name(at) => stars > 0 || self.begins_operand(at + 2),
            _ => false,
        }
    }

    fn is_type_word(&self, at: usize) -> bool {
        let word = self.ahead(at).kind.word();
        word.is_some_and(|word| {
            matches!(word, "struct" | "union" | "enum") || TYPES.contains(&word) || C_TYPE_WORDS.contains(&word)
        })
    }

    fn is_plain_name(&self, at: usize) -> bool {
        self.ahead(at).kind.word().is_some_and(|word| {
            !KEYWORDS.contains(&word)
                && !matches!(word, "true" | "false")
                && Builtin::from_name(word).is_none()
                && Function::from_name(word).is_none()
        })
    }

    /// How many stars stand before a closing parenthesis, if one comes.
    fn stars_then_close(&self, at: usize) -> Option<usize> {
        let stars = (0..=MAX_SUFFIXES).take_while(|star| self.ahead(at + star).kind.is("*")).count();
        self.ahead(at + stars).kind.is(")").then_some(stars)
    }

    fn begins_operand(&self, at: usize) -> bool {
        match &self.ahead(at).kind {
            TokenKind::Symbol(symbol) => matches!(*symbol, "(" | "!" | "~" | "-" | "*" | "++" | "--"),
            TokenKind::Int(_)
            | TokenKind::Text(_)
            | TokenKind::Scratch(_)
            | TokenKind::Map(_)
            | TokenKind::Positional(_)
            | TokenKind::ParameterCount => true,
            TokenKind::Word(word) => !matches!(word.as_str(), "else"),
            _ => false,
        }
    }
}
