//! Text and bytes: where they are read, and how they are compared.

use super::Checker;
use super::expression::{number, unknown};
use crate::ast;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::{Arithmetic, Expression, ExpressionKind};
use crate::types::{Access, Space, Type};

/// Instructions that looking for one text in another may take: the verifier goes through a million in all.
const MAX_SEARCH: u32 = 400_000;
/// Instructions for each byte of what is looked for, at each place where it may begin.
const SEARCH_STEP: u32 = 8;

impl Checker<'_> {
    pub(super) fn str(
        &mut self,
        pointer: &ast::Expression,
        length: Option<&ast::Expression>,
        span: Span,
    ) -> Expression {
        let pointer = self.expression(pointer);
        let length = length.map(|length| self.integer(length));
        let (max, length) = self.bounded(length);
        let ty = Type::Text(max);
        match pointer {
            Expression { ty: Type::Unknown, .. } => unknown(span),
            Expression { ty: Type::Text(_), .. } => pointer,
            Expression {
                ty: Type::Array(_, size),
                kind: ExpressionKind::Memory { pointer, offset, access, .. },
                ..
            } => {
                let ty = Type::Text(if size == 0 { max } else { max.min(size) });
                text_at(*pointer, offset, access, length, ty, span)
            }
            pointer if pointer.ty.is_integral() => {
                let access = match &pointer.ty {
                    Type::Pointer { access, .. } => *access,
                    _ => Access::Kernel,
                };
                text_at(pointer, 0, access, length, ty, span)
            }
            other => {
                let message = format!("`str` takes a pointer, and this is `{}`", other.ty);
                self.error("arguments", message, other.span);
                unknown(span)
            }
        }
    }

    /// A length as written or computed: the room that it needs, and the length if it must be computed.
    fn bounded(&mut self, length: Option<Expression>) -> (u32, Option<Box<Expression>>) {
        let max = self.settings.max_strlen;
        match length {
            None => (max, None),
            Some(Expression { kind: ExpressionKind::Int(length), span, .. }) => {
                let Some(length) = u32::try_from(length).ok().filter(|length| *length > 0) else {
                    self.error("arguments", "this length must be positive", span);
                    return (max, None);
                };
                (length.min(max), None)
            }
            Some(length) => (max, Some(Box::new(length))),
        }
    }

    pub(super) fn buf(
        &mut self,
        pointer: &ast::Expression,
        length: Option<&ast::Expression>,
        span: Span,
    ) -> Expression {
        let pointer = self.expression(pointer);
        let length = length.map(|length| self.integer(length));
        let (max, length) = self.bounded(length);
        match pointer {
            Expression { ty: Type::Unknown, .. } => unknown(span),
            Expression { ref ty, kind: ExpressionKind::Memory { ref pointer, offset, access, .. }, .. }
                if matches!(ty, Type::Array(..)) =>
            {
                let size = ty.size().min(max);
                let moved = moved((**pointer).clone(), offset, access);
                let kind = ExpressionKind::BytesAt { pointer: Box::new(moved), length };
                Expression { span, ty: Type::Bytes(size), kind }
            }
            pointer if pointer.ty.is_integral() || matches!(pointer.kind, ExpressionKind::Text(_)) => {
                let kind = ExpressionKind::BytesAt { pointer: Box::new(pointer), length };
                Expression { span, ty: Type::Bytes(max), kind }
            }
            other => {
                let message = format!("`buf` takes a pointer, and this is `{}`", other.ty);
                self.error("arguments", message, other.span);
                unknown(span)
            }
        }
    }

    pub(super) fn strncmp(
        &mut self,
        left: &ast::Expression,
        right: &ast::Expression,
        length: &ast::Expression,
        span: Span,
    ) -> Expression {
        let (left, right, length) = (self.expression(left), self.expression(right), self.integer(length));
        for side in [&left, &right] {
            if !matches!(side.ty, Type::Text(_) | Type::Unknown) {
                let message = format!("`strncmp` takes texts, and this is `{}`", side.ty);
                self.error("arguments", message, side.span);
                return unknown(span);
            }
        }
        let ExpressionKind::Int(count @ 0..) = length.kind else {
            self.error("arguments", "this number must be written out", length.span);
            return unknown(span);
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (left, right) = (Box::new(left), Box::new(right));
        // Zero where the texts are equal, as in C.
        let kind = ExpressionKind::SameText { left, right, length: Some(count), negated: true };
        Expression { span, ty: Type::INT64, kind }
    }

    /// `strcontains(text, part)`: whether the part is somewhere in the text.
    pub(super) fn strcontains(&mut self, text: &ast::Expression, part: &ast::Expression, span: Span) -> Expression {
        let (text, part) = (self.expression(text), self.expression(part));
        for side in [&text, &part] {
            if !matches!(side.ty, Type::Text(_) | Type::Unknown) {
                let message = format!("`strcontains` takes texts, and this is `{}`", side.ty);
                self.error("arguments", message, side.span);
                return unknown(span);
            }
        }
        if let (ExpressionKind::Text(text), ExpressionKind::Text(part)) = (&text.kind, &part.kind) {
            let found = part.is_empty() || text.windows(part.len()).any(|window| window == part);
            return number(i64::from(found), Type::INT64, span);
        }
        let steps = text.ty.size().saturating_mul(part.ty.size()).saturating_mul(SEARCH_STEP);
        if steps > MAX_SEARCH {
            let (long, short) = (text.ty.size(), part.ty.size());
            let message = format!("looking for up to {short} bytes in up to {long} is more than a program may do");
            let error = Diagnostic::error("text-too-long", message, span);
            self.report(error.because("`str(pointer, length)` reads less"));
            return unknown(span);
        }
        let kind = ExpressionKind::Contains { text: Box::new(text), part: Box::new(part) };
        Expression { span, ty: Type::INT64, kind }
    }
}

fn moved(pointer: Expression, offset: i64, access: Access) -> Expression {
    let span = pointer.span;
    let ty = Type::Pointer { to: Box::new(Type::None), access };
    if offset == 0 {
        return match pointer.ty {
            Type::Pointer { .. } => Expression { ty, ..pointer },
            // A number keeps the width in which it is read.
            _ => Expression { span, ty, kind: ExpressionKind::Retype(Box::new(pointer)) },
        };
    }
    let offset = number(offset, Type::INT64, span);
    let kind = ExpressionKind::Binary(Arithmetic::Add, Box::new(pointer), Box::new(offset));
    Expression { span, ty, kind }
}

pub(super) fn text_at(
    pointer: Expression,
    offset: i64,
    access: Access,
    length: Option<Box<Expression>>,
    ty: Type,
    span: Span,
) -> Expression {
    let space = if access == Access::User { Space::User } else { Space::Kernel };
    let kind = ExpressionKind::TextAt { pointer: Box::new(moved(pointer, offset, access)), space, length };
    Expression { span, ty, kind }
}
