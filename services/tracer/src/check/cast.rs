//! Casts: numbers to others, to pointers, and to and from arrays.

use super::Checker;
use super::expression::{number, unknown};
use super::memory::address_of;
use crate::ast;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind};
use crate::types::{Access, Enumeration, Type};

impl Checker<'_> {
    /// `(type)value`.
    pub(super) fn cast(&mut self, ty: &ast::Type, value: &ast::Expression, span: Span) -> Expression {
        let value = self.expression(value);
        let ty = self.type_of(ty);
        match (&value.ty, &ty) {
            (Type::Unknown, _) | (_, Type::Unknown) => unknown(span),
            (from, Type::Int { size, signed } | Type::Enum(Enumeration { size, signed, .. })) if from.is_integral() => {
                if let ExpressionKind::Int(value) = value.kind {
                    return number(narrowed(value, *size, *signed), ty, span);
                }
                Expression { span, ty, kind: ExpressionKind::Narrow(Box::new(value)) }
            }
            (Type::Array(element, _), Type::Int { size, .. })
                if element.is_integral() && value.ty.size() == u32::from(*size) =>
            {
                number_of_array(value, ty, span)
            }
            (Type::Int { size, .. }, Type::Array(element, length)) if element.is_integral() => {
                let (whole, each) = (u32::from(*size), element.size().max(1));
                let length = if *length == 0 { whole / each } else { *length };
                if length * each != whole {
                    let message = format!("`{}` has {whole} bytes, and the array {}", value.ty, length * each);
                    self.error("cast", message, span);
                    return unknown(span);
                }
                let ty = Type::Array(element.clone(), length);
                Expression { span, ty, kind: ExpressionKind::Retype(Box::new(value)) }
            }
            (from, Type::Bool) if from.is_integral() => {
                let zero = number(0, Type::INT64, span);
                let kind =
                    ExpressionKind::Compare(crate::typed::Comparison::NotEqual, false, Box::new(value), Box::new(zero));
                Expression { span, ty, kind }
            }
            (from, Type::Pointer { .. }) if from.is_integral() => {
                self.argument_taken_for_another(&ty, &value);
                let access = match (from, self.argument_type(&value)) {
                    (Type::Pointer { access: Access::User, .. }, _) => Some(Access::User),
                    // The verifier knows this argument as what the script takes it for.
                    (_, Some(Type::Pointer { to, access })) if ty == Type::pointer((**to).clone()) => Some(*access),
                    _ => None,
                };
                let ty = match (ty, access) {
                    (Type::Pointer { to, .. }, Some(access)) => Type::Pointer { to, access },
                    (other, _) => other,
                };
                Expression { span, ty, kind: ExpressionKind::Retype(Box::new(value)) }
            }
            (from, to) => {
                let message = format!("`{from}` cannot become `{to}`");
                self.error("cast", message, span);
                unknown(span)
            }
        }
    }
}

/// An array's bytes as one number.
fn number_of_array(value: Expression, ty: Type, span: Span) -> Expression {
    let kind = match value.kind {
        ExpressionKind::Text(bytes) => {
            let mut word = [0; 8];
            word.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            let Type::Int { size, signed } = ty else { return unknown(span) };
            ExpressionKind::Int(narrowed(i64::from_le_bytes(word), size, signed))
        }
        ExpressionKind::Memory { .. } => value.kind,
        _ => {
            let pointer = Box::new(address_of(value));
            ExpressionKind::Memory { pointer, offset: 0, access: Access::Kernel, bits: None }
        }
    };
    Expression { span, ty, kind }
}

/// A number as one of fewer bytes.
pub(crate) fn narrowed(value: i64, size: u8, signed: bool) -> i64 {
    let shift = 64 - 8 * u32::from(size.clamp(1, 8));
    let left = value << shift;
    if signed { left >> shift } else { (left.cast_unsigned() >> shift).cast_signed() }
}
