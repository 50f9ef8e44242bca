//! `#if` and its kin.

use super::Preprocessor;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::lex::{Token, TokenKind};
use crate::source::Span;

/// How deep conditions may be nested.
const MAX_DEPTH: usize = 64;

/// A condition whose `#endif` has not come yet.
#[derive(Debug)]
struct Open {
    /// Where it began.
    span: Span,
    /// Whether the present branch is read.
    active: bool,
    /// Whether a branch was taken already.
    taken: bool,
    /// Whether the `#else` was there.
    last: bool,
}

/// The conditions around the present line, outermost first.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<Open>);

impl Conditions {
    /// Whether the present line is read.
    pub(super) fn active(&self) -> bool {
        self.0.iter().all(|open| open.active)
    }

    /// Reports what is left open at the end of the script.
    pub(super) fn finish(&self, diagnostics: &mut Diagnostics) {
        for open in &self.0 {
            let error = Diagnostic::error("unterminated-condition", "this condition has no `#endif`", open.span);
            diagnostics.push(error);
        }
    }
}

impl Preprocessor<'_, '_> {
    /// Handles the directive if it belongs to a condition.
    pub(super) fn condition(&mut self, name: &str, name_span: Span, rest: Span) -> bool {
        match name {
            "if" | "ifdef" | "ifndef" => {
                let active = self.conditions.active() && self.holds(name, name_span, rest);
                if self.conditions.0.len() == MAX_DEPTH {
                    let message = format!("conditions are nested more than {MAX_DEPTH} deep");
                    self.diagnostics.push(Diagnostic::error("too-deep", message, name_span));
                } else {
                    self.conditions.0.push(Open { span: name_span, active, taken: active, last: false });
                }
            }
            "elif" => {
                let before = self.conditions.0.last().is_some_and(|open| !open.taken && !open.last);
                let active = before && self.holds("if", name_span, rest);
                self.branch(name, name_span, active, false);
            }
            "else" => {
                let active = self.conditions.0.last().is_some_and(|open| !open.taken);
                self.branch(name, name_span, active, true);
            }
            "endif" => {
                if self.conditions.0.pop().is_none() {
                    self.stray(name, name_span);
                }
            }
            _ => return false,
        }
        true
    }

    fn branch(&mut self, name: &str, span: Span, active: bool, last: bool) {
        match self.conditions.0.last_mut() {
            Some(open) if !open.last => {
                open.active = active;
                open.taken |= active;
                open.last = last;
            }
            _ => self.stray(name, span),
        }
    }

    fn stray(&mut self, name: &str, span: Span) {
        let message = format!("`#{name}` without an `#if`");
        self.diagnostics.push(Diagnostic::error("stray-condition", message, span));
    }

    fn holds(&mut self, name: &str, name_span: Span, rest: Span) -> bool {
        let tokens = self.fragment(rest);
        let words: Vec<&TokenKind> = tokens.iter().map(|token| &token.kind).collect();
        let defined = |word: &str| self.macros.contains_key(word);
        let answer = match (name, words.as_slice()) {
            ("ifdef", [TokenKind::Word(word), ..]) => Some(defined(word)),
            ("ifndef", [TokenKind::Word(word), ..]) => Some(!defined(word)),
            ("if", all) => self.value(all),
            _ => None,
        };
        answer.unwrap_or_else(|| {
            let message = format!("this condition behind `#{name}` is not understood");
            let error = Diagnostic::error("invalid-condition", message, name_span.to(rest));
            self.diagnostics.push(error.because("conditions are a number, a macro, or `defined(NAME)`, also with `!`"));
            false
        })
    }

    /// The truth of a number, a macro that is a number, or `defined(NAME)`; `!` before it turns it round.
    fn value(&self, tokens: &[&TokenKind]) -> Option<bool> {
        let turned = tokens.iter().take_while(|token| token.is("!")).count();
        let tokens = tokens.get(turned..).unwrap_or_default();
        let plain = match tokens {
            [TokenKind::Int(value)] => *value != 0,
            [TokenKind::Word(word), TokenKind::Word(name)] if word == "defined" => self.macros.contains_key(name),
            [TokenKind::Word(word), open, TokenKind::Word(name), close]
                if word == "defined" && open.is("(") && close.is(")") =>
            {
                self.macros.contains_key(name)
            }
            [TokenKind::Word(name)] => match self.macros.get(name).map(|found| found.body.as_slice()) {
                Some([Token { kind: TokenKind::Int(value), .. }]) => *value != 0,
                None => false,
                Some(_) => return None,
            },
            _ => return None,
        };
        Some(plain != (turned % 2 == 1))
    }
}
