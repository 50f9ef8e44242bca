//! Calls for their value.

use super::Checker;
use super::expression::{number, unknown};
use crate::ast::{self, ExpressionKind as Ast, Function};
use crate::helper;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind, Source};
use crate::types::{Access, Space, Type};

/// Frames that a stack has where the script does not say, and at most, as in bpftrace.
const STACK_DEPTH: i64 = 127;

impl Checker<'_> {
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &[ast::Expression],
        name_span: Span,
        span: Span,
    ) -> Expression {
        match (function, arguments) {
            (Function::Str, [pointer] | [pointer, _]) => self.str(pointer, arguments.get(1), span),
            (Function::Buf, [pointer] | [pointer, _]) => self.buf(pointer, arguments.get(1), span),
            (Function::Strncmp, [left, right, length]) => self.strncmp(left, right, length, span),
            (Function::HasKey, [map, key]) => self.has_key(map, key, span),
            (Function::Nsecs, [] | [_]) => self.clock(arguments.first(), span),
            (Function::Kstack, _) => self.stack(Space::Kernel, arguments, span),
            (Function::Ustack, _) => self.stack(Space::User, arguments, span),
            (Function::Ksym, [address]) => {
                let address = self.integer(address);
                let kind = ExpressionKind::Retype(Box::new(address));
                Expression { span, ty: Type::Symbol(Space::Kernel), kind }
            }
            (Function::Reg, [name]) => self.register(name, span),
            (Function::Ntop, [address]) => self.ntop(None, address, span),
            (Function::Ntop, [family, address]) => self.ntop(Some(family), address, span),
            (Function::Bswap, [value]) => {
                let value = self.integer(value);
                match value.ty.clone() {
                    Type::Int { size, .. } if size > 1 => {
                        let ty = Type::Int { size, signed: false };
                        Expression { span, ty, kind: ExpressionKind::Swap(Box::new(value)) }
                    }
                    _ => value,
                }
            }
            (Function::Kptr | Function::Uptr, [pointer]) => {
                let access = if function == Function::Kptr { Access::Kernel } else { Access::User };
                let pointer = self.integer(pointer);
                let to = match &pointer.ty {
                    Type::Pointer { to, .. } => to.clone(),
                    _ => Box::new(Type::None),
                };
                Expression { span, ty: Type::Pointer { to, access }, kind: ExpressionKind::Retype(Box::new(pointer)) }
            }
            (
                Function::Count
                | Function::Sum
                | Function::Avg
                | Function::Min
                | Function::Max
                | Function::Stats
                | Function::Hist
                | Function::Lhist,
                _,
            ) => {
                let message = format!("`{}` gathers into a map: write `@x = {0}(…)`", function.name());
                self.error("gather-place", message, span);
                unknown(span)
            }
            (
                Function::Printf
                | Function::Errorf
                | Function::Print
                | Function::Clear
                | Function::Zero
                | Function::Exit
                | Function::Time
                | Function::Delete,
                _,
            ) => {
                self.error("no-value", format!("`{}` has no value", function.name()), span);
                unknown(span)
            }
            (
                Function::Str
                | Function::Buf
                | Function::Strncmp
                | Function::HasKey
                | Function::Nsecs
                | Function::Ksym
                | Function::Reg
                | Function::Ntop
                | Function::Bswap
                | Function::Kptr
                | Function::Uptr,
                given,
            ) => {
                let message = format!("`{}` does not take {} arguments", function.name(), given.len());
                self.error("arguments", message, span);
                unknown(span)
            }
            _ => {
                self.error("not-yet", format!("`{}` is not supported yet", function.name()), name_span);
                unknown(span)
            }
        }
    }

    fn str(&mut self, pointer: &ast::Expression, length: Option<&ast::Expression>, span: Span) -> Expression {
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

    fn buf(&mut self, pointer: &ast::Expression, length: Option<&ast::Expression>, span: Span) -> Expression {
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

    fn strncmp(
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

    fn has_key(&mut self, map: &ast::Expression, key: &ast::Expression, span: Span) -> Expression {
        let Ast::Map(access) = &map.kind else {
            self.error("arguments", "`has_key` takes a map and a key", map.span);
            return unknown(span);
        };
        let map = self.map(&access.name);
        let key = self.expression(key);
        let entry = self.entry_of(map, Some(key), span);
        Expression { span, ty: Type::Bool, kind: ExpressionKind::HasKey(entry) }
    }

    fn clock(&mut self, name: Option<&ast::Expression>, span: Span) -> Expression {
        let helper = match name.map(|name| &name.kind) {
            None => helper::KTIME_GET_BOOT_NS,
            Some(Ast::Identifier(name)) => match name.as_str() {
                "boot" => helper::KTIME_GET_BOOT_NS,
                "monotonic" => helper::KTIME_GET_NS,
                "tai" => helper::KTIME_GET_TAI_NS,
                _ => {
                    self.error("clock", format!("there is no clock `{name}`; there are boot, monotonic and tai"), span);
                    return unknown(span);
                }
            },
            Some(_) => {
                self.error("clock", "the clocks are boot, monotonic and tai", span);
                return unknown(span);
            }
        };
        Expression { span, ty: Type::UINT64, kind: ExpressionKind::Source(Source::Clock(helper)) }
    }

    /// `kstack(perf, 3)`: a mode, a number of frames, or both.
    fn stack(&mut self, space: Space, arguments: &[ast::Expression], span: Span) -> Expression {
        let mut depth = STACK_DEPTH;
        for argument in arguments {
            match &argument.kind {
                Ast::Identifier(mode) if mode == "bpftrace" => {}
                Ast::Identifier(mode) if matches!(mode.as_str(), "perf" | "raw") => {
                    self.error("not-yet", format!("the form `{mode}` of stacks is not supported yet"), argument.span);
                }
                _ => {
                    if let ExpressionKind::Int(frames @ 1..=STACK_DEPTH) = self.integer(argument).kind {
                        depth = frames;
                    } else {
                        let message = format!("a stack has between 1 and {STACK_DEPTH} frames");
                        self.error("arguments", message, argument.span);
                    }
                }
            }
        }
        let ty = Type::Stack(space, u32::try_from(depth).unwrap_or(1));
        Expression { span, ty, kind: ExpressionKind::Source(Source::Stack(space)) }
    }

    fn ntop(&mut self, family: Option<&ast::Expression>, address: &ast::Expression, span: Span) -> Expression {
        let address = self.expression(address);
        let size = match &address.ty {
            Type::Unknown => return unknown(span),
            ty if ty.is_integral() => 4,
            Type::Array(..) => address.ty.size(),
            _ => 0,
        };
        let told = match size {
            4 => Some(number(2, Type::INT64, span)),
            16 => Some(number(10, Type::INT64, span)),
            _ => None,
        };
        let Some(told) = told else {
            let message = format!("`ntop` takes 4 or 16 bytes, and this is `{}`", address.ty);
            self.error("arguments", message, address.span);
            return unknown(span);
        };
        let family = family.map_or(told, |family| self.integer(family));
        let kind = ExpressionKind::Address { family: Box::new(family), bytes: Box::new(address) };
        Expression { span, ty: Type::Address, kind }
    }
}

fn moved(pointer: Expression, offset: i64, access: Access) -> Expression {
    let span = pointer.span;
    let ty = Type::Pointer { to: Box::new(Type::None), access };
    if offset == 0 {
        return Expression { ty, ..pointer };
    }
    let offset = number(offset, Type::INT64, span);
    let kind = ExpressionKind::Binary(crate::typed::Arithmetic::Add, Box::new(pointer), Box::new(offset));
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
