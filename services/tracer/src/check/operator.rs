//! Operators: the types of their results, and their results where those are known.

use super::Checker;
use super::expression::{number, unknown};
use crate::ast::{self, BinaryOperator, UnaryOperator};
use crate::source::Span;
use crate::typed::{Arithmetic, Comparison, Expression, ExpressionKind, Unary};
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn unary(&mut self, operator: UnaryOperator, operand: &ast::Expression, span: Span) -> Expression {
        let operand = self.expression(operand);
        if operator == UnaryOperator::Dereference {
            return self.dereference(operand, span);
        }
        let operand = self.integral(operand);
        let (operation, ty) = match operator {
            UnaryOperator::Not => (Unary::Not, Type::Bool),
            UnaryOperator::Invert => (Unary::Invert, wide(operand.ty.is_signed())),
            _ => (Unary::Negate, Type::INT64),
        };
        // `!x` counts as a number when it is printed, as in bpftrace.
        let ty = if ty == Type::Bool && operand.ty != Type::Bool { Type::INT64 } else { ty };
        if let ExpressionKind::Int(value) = operand.kind {
            let value = match operation {
                Unary::Not => i64::from(value == 0),
                Unary::Invert => !value,
                Unary::Negate => value.wrapping_neg(),
            };
            return number(value, ty, span);
        }
        Expression { span, ty, kind: ExpressionKind::Unary(operation, Box::new(operand)) }
    }

    pub(super) fn binary(
        &mut self,
        operator: BinaryOperator,
        left: Expression,
        right: Expression,
        span: Span,
        operator_span: Span,
    ) -> Expression {
        let comparison = match operator {
            BinaryOperator::And | BinaryOperator::Or => {
                return self.logical(operator == BinaryOperator::And, left, right, span);
            }
            BinaryOperator::Equal => Comparison::Equal,
            BinaryOperator::NotEqual => Comparison::NotEqual,
            BinaryOperator::Less => Comparison::Less,
            BinaryOperator::LessEqual => Comparison::LessEqual,
            BinaryOperator::Greater => Comparison::Greater,
            BinaryOperator::GreaterEqual => Comparison::GreaterEqual,
            _ => return self.arithmetic(operator, left, right, span, operator_span),
        };
        self.comparison(comparison, left, right, span, operator_span)
    }

    fn logical(&mut self, and: bool, left: Expression, right: Expression, span: Span) -> Expression {
        let (left, right) = (self.condition(left), self.condition(right));
        let ty = Type::INT64;
        match (&left.kind, &right.kind) {
            (ExpressionKind::Int(left), _) if (*left == 0) == and => number(i64::from(!and), ty, span),
            (ExpressionKind::Int(_), ExpressionKind::Int(right)) => number(i64::from(*right != 0), ty, span),
            _ => {
                let kind = ExpressionKind::Logical { and, left: Box::new(left), right: Box::new(right) };
                Expression { span, ty, kind }
            }
        }
    }

    fn comparison(
        &mut self,
        comparison: Comparison,
        left: Expression,
        right: Expression,
        span: Span,
        operator_span: Span,
    ) -> Expression {
        let ty = Type::INT64;
        let [left, right] =
            [left, right].map(|side| if matches!(side.ty, Type::Enum(_)) { self.integral(side) } else { side });
        match (&left.ty, &right.ty) {
            (Type::Unknown, _) | (_, Type::Unknown) => unknown(span),
            (Type::Text(_), Type::Text(_)) => {
                let negated = match comparison {
                    Comparison::Equal => false,
                    Comparison::NotEqual => true,
                    _ => {
                        self.error("text-order", "texts are equal or not; they have no order", operator_span);
                        return unknown(span);
                    }
                };
                if let (ExpressionKind::Text(left), ExpressionKind::Text(right)) = (&left.kind, &right.kind) {
                    return number(i64::from((left == right) != negated), ty, span);
                }
                let (left, right) = (Box::new(left), Box::new(right));
                let kind = ExpressionKind::SameText { left, right, length: None, negated };
                Expression { span, ty, kind }
            }
            (Type::Array(..), Type::Array(..)) if left.ty.size() == right.ty.size() => {
                let negated = match comparison {
                    Comparison::Equal => false,
                    Comparison::NotEqual => true,
                    _ => {
                        self.error("array-order", "arrays are equal or not; they have no order", operator_span);
                        return unknown(span);
                    }
                };
                let (left, right) = (Box::new(left), Box::new(right));
                Expression { span, ty, kind: ExpressionKind::SameText { left, right, length: None, negated } }
            }
            (a, b) if a.is_integral() && b.is_integral() => {
                // A number as written takes the other side's sign.
                let signed = both_signed(&left, &right);
                if let (ExpressionKind::Int(a), ExpressionKind::Int(b)) = (&left.kind, &right.kind) {
                    return number(i64::from(holds(comparison, *a, *b, signed)), ty, span);
                }
                let kind = ExpressionKind::Compare(comparison, signed, Box::new(left), Box::new(right));
                Expression { span, ty, kind }
            }
            (a, b) => {
                let message = format!("`{a}` and `{b}` cannot be compared");
                self.error("comparison-type", message, span);
                unknown(span)
            }
        }
    }

    pub(super) fn arithmetic(
        &mut self,
        operator: BinaryOperator,
        left: Expression,
        right: Expression,
        span: Span,
        operator_span: Span,
    ) -> Expression {
        let (left, right) = (self.integral(left), self.integral(right));
        if left.ty == Type::Unknown || right.ty == Type::Unknown {
            return unknown(span);
        }
        let operation = match operator {
            BinaryOperator::Add => Arithmetic::Add,
            BinaryOperator::Subtract => Arithmetic::Subtract,
            BinaryOperator::Multiply => Arithmetic::Multiply,
            BinaryOperator::Divide => Arithmetic::Divide,
            BinaryOperator::Modulo => Arithmetic::Modulo,
            BinaryOperator::BitAnd => Arithmetic::And,
            BinaryOperator::BitOr => Arithmetic::Or,
            BinaryOperator::BitXor => Arithmetic::Xor,
            BinaryOperator::ShiftLeft => Arithmetic::ShiftLeft,
            _ => Arithmetic::ShiftRight,
        };
        if let (Type::Pointer { .. }, _) | (_, Type::Pointer { .. }) = (&left.ty, &right.ty) {
            return self.pointer_arithmetic(operation, left, right, span);
        }
        let signed = both_signed(&left, &right);
        let ty = wide(signed);
        if let (Arithmetic::Divide | Arithmetic::Modulo, ExpressionKind::Int(0)) = (operation, &right.kind) {
            self.error("division-by-zero", "this divides by zero", operator_span);
            return unknown(span);
        }
        if let (ExpressionKind::Int(left), ExpressionKind::Int(right)) = (&left.kind, &right.kind) {
            return number(computed(operation, *left, *right, signed), ty, span);
        }
        let kind = ExpressionKind::Binary(operation, Box::new(left), Box::new(right));
        Expression { span, ty, kind }
    }

    fn pointer_arithmetic(
        &mut self,
        operation: Arithmetic,
        left: Expression,
        right: Expression,
        span: Span,
    ) -> Expression {
        let scaled = |value: Expression, size: u32| match (&value.kind, size) {
            (_, 1) => value,
            (ExpressionKind::Int(value), _) => number(value.wrapping_mul(size.into()), Type::INT64, span),
            _ => {
                let size = number(size.into(), Type::INT64, span);
                let kind = ExpressionKind::Binary(Arithmetic::Multiply, Box::new(value), Box::new(size));
                Expression { span, ty: Type::INT64, kind }
            }
        };
        let combine = |left: Expression, right: Expression, ty: Type| {
            let kind = ExpressionKind::Binary(operation, Box::new(left), Box::new(right));
            Expression { span, ty, kind }
        };
        match (&left.ty, &right.ty, operation) {
            (Type::Pointer { to, .. }, Type::Int { .. }, Arithmetic::Add | Arithmetic::Subtract) => {
                let (ty, size) = (left.ty.stored(), to.size().max(1));
                let right = scaled(right, size);
                combine(left, right, ty)
            }
            (Type::Int { .. }, Type::Pointer { to, .. }, Arithmetic::Add) => {
                let (ty, size) = (right.ty.stored(), to.size().max(1));
                let left = scaled(left, size);
                combine(right, left, ty)
            }
            (Type::Pointer { .. } | Type::Int { .. }, Type::Pointer { .. } | Type::Int { .. }, _) => {
                combine(left, right, Type::UINT64)
            }
            _ => {
                self.error("pointer-arithmetic", "pointers move by numbers", span);
                unknown(span)
            }
        }
    }
}

fn wide(signed: bool) -> Type {
    Type::Int { size: 8, signed }
}

/// Whether an operation on two numbers minds signs. Where only one has a sign, it does if the other fits 64 bits with
/// sign; a number as written that is not negative takes the other's side.
fn both_signed(left: &Expression, right: &Expression) -> bool {
    let literal = |value: &Expression| matches!(value.kind, ExpressionKind::Int(0..));
    let narrow = |value: &Expression| matches!(value.ty, Type::Int { size: 1..=4, .. } | Type::Bool);
    match (left.ty.is_signed(), right.ty.is_signed()) {
        (true, false) => narrow(right) && !literal(left),
        (false, true) => narrow(left) && !literal(right),
        (both, _) => both,
    }
}

fn holds(comparison: Comparison, left: i64, right: i64, signed: bool) -> bool {
    let order = if signed { left.cmp(&right) } else { left.cast_unsigned().cmp(&right.cast_unsigned()) };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterEqual => order.is_ge(),
    }
}

/// What the machine would compute. Shifts count modulo 64 there.
pub(crate) fn computed(operation: Arithmetic, left: i64, right: i64, signed: bool) -> i64 {
    let count = u32::try_from(right & 63).unwrap_or(0);
    let (plain_left, plain_right) = (left.cast_unsigned(), right.cast_unsigned());
    match operation {
        Arithmetic::Add => left.wrapping_add(right),
        Arithmetic::Subtract => left.wrapping_sub(right),
        Arithmetic::Multiply => left.wrapping_mul(right),
        Arithmetic::Divide if signed => {
            if right == 0 {
                0
            } else {
                left.wrapping_div(right)
            }
        }
        Arithmetic::Divide => plain_left.checked_div(plain_right).unwrap_or(0).cast_signed(),
        Arithmetic::Modulo if signed => {
            if right == 0 {
                left
            } else {
                left.wrapping_rem(right)
            }
        }
        Arithmetic::Modulo => plain_left.checked_rem(plain_right).unwrap_or(plain_left).cast_signed(),
        Arithmetic::And => left & right,
        Arithmetic::Or => left | right,
        Arithmetic::Xor => left ^ right,
        Arithmetic::ShiftLeft => left.wrapping_shl(count),
        Arithmetic::ShiftRight if signed => left.wrapping_shr(count),
        Arithmetic::ShiftRight => plain_left.wrapping_shr(count).cast_signed(),
    }
}
