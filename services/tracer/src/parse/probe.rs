//! A probe: attach points, predicate, block.

use super::{Parser, Result};
use crate::ast::{AttachPoint, Expression, Probe};
use crate::attach;
use crate::diagnostic::Diagnostic;
use crate::lex::TokenKind;
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn probe(&mut self) -> Result<Probe> {
        let start = self.peek().span;
        let attach_points = self.attach_points()?;
        let predicate = self.predicate()?;
        if !self.at("{") {
            let found = self.peek().clone();
            let message = format!("expected `{{`, found {}", found.kind.describe());
            let error = Diagnostic::error("syntax", message, found.span);
            return self.fail(error.label(self.since(start), "this probe has no block"));
        }
        let body = self.block()?;
        Ok(Probe { span: self.since(start), attach_points, predicate, body })
    }

    /// Attach points with commas between them; a comma behind the last one is allowed.
    fn attach_points(&mut self) -> Result<Vec<AttachPoint>> {
        let mut points = Vec::new();
        while let TokenKind::AttachPoint(point) = self.peek().kind.clone() {
            self.bump();
            points.extend(attach::expand_provider(point));
            if !self.eat(",") {
                break;
            }
        }
        if let TokenKind::AttachPoint(_) = self.peek().kind {
            let between = self.last_span().after();
            let error =
                Diagnostic::error("syntax", "expected `,`, `/` or `{` behind an attach point", self.peek().span);
            return self.fail(error.suggest(between, ",", "attach points have commas between them"));
        }
        Ok(points)
    }

    fn predicate(&mut self) -> Result<Option<Expression>> {
        if self.peek().kind != TokenKind::PredicateStart {
            return Ok(None);
        }
        let start = self.bump().span;
        let predicate = self.expression()?;
        match self.peek().kind {
            TokenKind::PredicateEnd => {
                self.bump();
                Ok(Some(predicate))
            }
            _ => self.open_predicate(start),
        }
    }

    fn open_predicate(&mut self, start: Span) -> Result<Option<Expression>> {
        let found = self.peek().clone();
        let message = format!("expected `/` and `{{` behind the predicate, found {}", found.kind.describe());
        let error = Diagnostic::error("syntax", message, found.span).label(start, "the predicate begins here");
        self.fail(if found.kind.is("{") {
            error.suggest(self.last_span().after(), "/", "close the predicate")
        } else {
            error
        })
    }
}
