//! Expressions.

use super::Checker;
use super::map::widened;
use super::memory::address_of;
use crate::ast::{self, ExpressionKind as Ast};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::{Entry, Expression, ExpressionKind, Held, MapId, Stepping};
use crate::types::{Aggregate, Type};
use crate::untold::needed;

/// A number whose type is known.
pub(super) fn number(value: i64, ty: Type, span: Span) -> Expression {
    Expression { span, ty, kind: ExpressionKind::Int(value) }
}

/// What stands in for a value that could not be understood.
pub(super) fn unknown(span: Span) -> Expression {
    number(0, Type::Unknown, span)
}

impl Checker<'_> {
    /// A value.
    pub(super) fn expression(&mut self, expression: &ast::Expression) -> Expression {
        let span = expression.span;
        match &expression.kind {
            Ast::Int(value) => literal(*value, span),
            Ast::Bool(value) => number(i64::from(*value), Type::Bool, span),
            Ast::Text(text) => self.text(text.clone(), span),
            Ast::Identifier(name) => self.constant(name, span),
            Ast::Builtin(builtin) => self.builtin(*builtin, span),
            Ast::Positional(index) => self.positional(*index, span),
            Ast::ParameterCount => {
                let count = i64::try_from(self.environment.parameters.len()).unwrap_or(i64::MAX);
                number(count, Type::INT64, span)
            }
            Ast::Scratch(name) => self.variable(name, span),
            Ast::Map(access) => {
                let entry = self.entry(access);
                self.entry_value(entry, span)
            }
            Ast::Call { function, arguments, name_span } => self.call(*function, arguments, *name_span, span),
            Ast::Unary(operator, operand) => self.unary(*operator, operand, span),
            Ast::AddressOf(ast::Target::Scratch(name)) => self.address_of_variable(name, span),
            Ast::AddressOf(ast::Target::Map(_)) => {
                self.error("not-yet", "addresses of maps are not supported yet", span);
                unknown(span)
            }
            Ast::Step { step, postfix, target } => self.step(*step, *postfix, target, span),
            Ast::Binary { operator, operator_span, left, right } => {
                let left = self.expression(left);
                let right = self.expression(right);
                self.binary(*operator, left, right, span, *operator_span)
            }
            Ast::Conditional { condition, then, otherwise } => self.conditional(condition, then, otherwise, span),
            Ast::Field { value, arrow, name } => self.field(value, *arrow, name, span),
            Ast::TupleIndex { value, index } => self.element(value, *index, span),
            Ast::Index { value, index } => self.index(value, index, span),
            Ast::Cast { ty, value } => self.cast(ty, value, span),
            Ast::Tuple(items) => {
                let items: Vec<Expression> = items.iter().map(|item| self.expression(item)).collect();
                for item in items.iter().filter(|item| item.ty == Type::None) {
                    self.error("no-value", "this has no value to be part of a tuple", item.span);
                }
                let ty = Type::Tuple(items.iter().map(|item| item.ty.stored()).collect());
                Expression { span, ty, kind: ExpressionKind::Tuple(items) }
            }
            Ast::SizeOf(measured) => self.size_of(measured, span),
            Ast::OffsetOf { of, path } => self.offset_of(of, path, span),
        }
    }

    pub(super) fn text(&mut self, text: Vec<u8>, span: Span) -> Expression {
        let size = u32::try_from(text.len() + 1).unwrap_or(u32::MAX);
        if size > self.settings.max_strlen.max(64) {
            let message = format!("this text has {} bytes, and `max_strlen` is {}", size - 1, self.settings.max_strlen);
            self.error("text-too-long", message, span);
        }
        Expression { span, ty: Type::Text(size), kind: ExpressionKind::Text(text) }
    }

    /// A value that must be a number, as one of 64 bits.
    pub(super) fn integer(&mut self, expression: &ast::Expression) -> Expression {
        let value = self.expression(expression);
        self.integral(value)
    }

    pub(super) fn integral(&mut self, value: Expression) -> Expression {
        if !value.ty.is_integral() && value.ty != Type::Unknown {
            let message = format!("a number is needed, and this is `{}`", value.ty);
            self.error("not-a-number", message, value.span);
            return unknown(value.span);
        }
        // Names are of values as they are, not of what is made of them.
        let ty = match (&value.ty, &value.kind) {
            (Type::Enum(_), ExpressionKind::Int(_)) => Type::INT64,
            (ty, _) => ty.nameless(),
        };
        Expression { ty, ..value }
    }

    /// A value that decides: any number, or the address of what is not null.
    pub(super) fn condition(&mut self, value: Expression) -> Expression {
        if value.ty.is_integral() || value.ty == Type::Unknown {
            return value;
        }
        let message = format!("a condition is a number, and this is `{}`", value.ty);
        let error = Diagnostic::error("condition-type", message, value.span);
        self.report(match value.ty {
            Type::Text(_) => error.because("compare texts with `==` or `!=`"),
            _ => error,
        });
        unknown(value.span)
    }

    fn positional(&mut self, index: u32, span: Span) -> Expression {
        let parameter = self.environment.parameters.get((index as usize).saturating_sub(1));
        let Some(parameter) = parameter else { return number(0, Type::INT64, span) };
        match crate::lex::number_value(parameter) {
            Ok(value) => literal(value, span),
            Err(_) => match parameter.strip_prefix('-').map(crate::lex::number_value) {
                Some(Ok(value)) => number(value.cast_signed().wrapping_neg(), Type::INT64, span),
                _ => self.text(parameter.clone().into_bytes(), span),
            },
        }
    }

    pub(super) fn variable(&mut self, name: &str, span: Span) -> Expression {
        let Some(variable) = self.lookup(name) else {
            let error = Diagnostic::error("undefined-variable", format!("`${name}` has no value here"), span);
            self.report(error.because("a variable lives in the block in which it first gets a value"));
            return unknown(span);
        };
        let ty = self.variable_type(variable);
        if ty == Type::Unknown && self.last {
            self.error("undefined-variable", format!("`${name}` never gets a value"), span);
        }
        Expression { span, ty, kind: ExpressionKind::Variable(variable) }
    }

    /// `&$x`: where the variable lies as long as the probe runs.
    fn address_of_variable(&mut self, name: &ast::Name, span: Span) -> Expression {
        let variable = self.variable(&name.text, name.span);
        if let ExpressionKind::Variable(number) = variable.kind {
            self.addressed.insert(number);
        }
        Expression { span, ..address_of(variable) }
    }

    /// What a map's entry holds.
    pub(super) fn entry_value(&mut self, entry: Entry, span: Span) -> Expression {
        let ty = match self.held(entry.map).cloned() {
            Some(Held::Values(ty)) => ty,
            Some(Held::Gathered(aggregate)) => {
                return match self.total(entry.map, aggregate, span) {
                    Some(ty) => Expression { span, ty, kind: ExpressionKind::Total(entry) },
                    None => unknown(span),
                };
            }
            None => Type::Unknown,
        };
        if ty == Type::Unknown && self.last && self.held(entry.map).is_none() {
            self.undefined_map(entry.map, span);
        }
        Expression { span, ty, kind: ExpressionKind::Entry(entry) }
    }

    /// The type of what a map gathers as one number; where it is none, that was said.
    pub(super) fn total(&mut self, map: MapId, aggregate: Aggregate, span: Span) -> Option<Type> {
        let Some(ty) = aggregate.total() else {
            let name = self.map_name(map);
            let message = format!("`{name}` is of type `{}`, which is no single number", aggregate.name());
            self.report(Diagnostic::error("gathered-value", message, span).because("print the whole map"));
            return None;
        };
        if let Err(error) = self.environment.kernel() {
            self.report(needed(error, span));
            return None;
        }
        if !self.environment.has_helper("map_lookup_percpu_elem") {
            let message = "this kernel's programs cannot read what other CPUs gathered";
            self.report(Diagnostic::error("kernel-too-old", message, span).because("since Linux 5.19 they can"));
            return None;
        }
        Some(ty)
    }

    fn conditional(
        &mut self,
        condition: &ast::Expression,
        then: &ast::Expression,
        otherwise: &ast::Expression,
        span: Span,
    ) -> Expression {
        let condition = self.expression(condition);
        let condition = self.condition(condition);
        let (then, otherwise) = (self.expression(then), self.expression(otherwise));
        let Some(ty) = then.ty.stored().join(&otherwise.ty.stored()) else {
            let message = format!("one value is `{}` and the other `{}`", then.ty, otherwise.ty);
            self.error("conditional-type", message, span);
            return unknown(span);
        };
        if let ExpressionKind::Int(known) = condition.kind {
            let chosen = if known == 0 { otherwise } else { then };
            return widened(chosen, Some(&ty));
        }
        let (then, otherwise) = (widened(then, Some(&ty)), widened(otherwise, Some(&ty)));
        let kind = ExpressionKind::Conditional(Box::new(condition), Box::new(then), Box::new(otherwise));
        Expression { span, ty, kind }
    }

    fn step(&mut self, step: ast::Step, postfix: bool, target: &ast::Target, span: Span) -> Expression {
        let up = if step == ast::Step::Increment { 1 } else { -1 };
        match target {
            ast::Target::Scratch(name) => {
                let before = self.variable(&name.text, name.span);
                let before = self.integral(before);
                let size = match &before.ty {
                    Type::Pointer { to, .. } => i64::from(to.size().max(1)),
                    _ => 1,
                };
                let ExpressionKind::Variable(variable) = before.kind else { return unknown(span) };
                let kind = ExpressionKind::StepVariable(variable, Stepping { by: up * size, before: postfix });
                Expression { span, ty: before.ty, kind }
            }
            ast::Target::Map(access) => {
                let entry = self.entry(access);
                self.put(entry.map, &number(0, Type::INT64, span), access.span);
                let kind = ExpressionKind::StepEntry(entry, Stepping { by: up, before: postfix });
                Expression { span, ty: Type::INT64, kind }
            }
        }
    }

    fn element(&mut self, value: &ast::Expression, index: u32, span: Span) -> Expression {
        let value = self.expression(value);
        let element = match &value.ty {
            Type::Tuple(items) => items.get(index as usize).cloned(),
            Type::Unknown => return unknown(span),
            _ => None,
        };
        let Some(ty) = element else {
            let message = format!("`{}` has no part {index}", value.ty);
            self.error("tuple-index", message, span);
            return unknown(span);
        };
        match value.kind {
            // Only what is asked for is computed.
            ExpressionKind::Tuple(mut items) => items.swap_remove(index as usize),
            _ => Expression { span, ty, kind: ExpressionKind::Element(Box::new(value), index as usize) },
        }
    }
}

/// A number as written: signed as long as it fits.
fn literal(value: u64, span: Span) -> Expression {
    let ty = if i64::try_from(value).is_ok() { Type::INT64 } else { Type::UINT64 };
    number(value.cast_signed(), ty, span)
}
