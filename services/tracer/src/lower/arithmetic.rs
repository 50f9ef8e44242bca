//! Arithmetic on numbers.

use super::Lowerer;
use crate::code::ir::{Operand, Operation, Value};
use crate::code::{Alu, Compare};
use crate::typed::{Arithmetic, Expression, ExpressionKind, Source};
use crate::types::{Access, Type};

impl Lowerer<'_> {
    /// The number with the other sign.
    pub(super) fn negate(&mut self, from: Value) -> Operand {
        let to = self.builder.value();
        self.builder.push(Operation::Negate { to, from });
        to.into()
    }

    /// Whether the verifier takes a value for a pointer whose type it knows. It lets nobody compute with these.
    pub(super) fn is_typed_pointer(&self, value: &Expression) -> bool {
        match &value.kind {
            ExpressionKind::Retype(inner) => self.is_typed_pointer(inner),
            // An argument as a plain number may be one.
            ExpressionKind::Source(Source::ContextPart(_, 8)) => self.typed_context,
            _ => matches!(value.ty, Type::Pointer { access: Access::Direct, .. }),
        }
    }

    /// A number that may be such a pointer, as one that the verifier knows nothing of: what was negated is no pointer.
    pub(super) fn untyped(&mut self, number: Operand, typed: bool) -> Operand {
        let (Operand::Value(from), true) = (number, typed) else { return number };
        let negated = self.negate(from);
        let negated = self.builder.in_value(negated);
        self.negate(negated)
    }

    /// A value to compute with.
    pub(super) fn plain(&mut self, value: &Expression) -> Operand {
        let number = self.number(value);
        self.untyped(number, self.is_typed_pointer(value))
    }

    pub(super) fn binary(
        &mut self,
        operation: Arithmetic,
        left: &Expression,
        right: &Expression,
        signed: bool,
    ) -> Operand {
        let typed = [left, right].map(|operand| self.is_typed_pointer(operand));
        let (left, right) = self.both(left, right);
        let [left, right] = [(left, typed[0]), (right, typed[1])].map(|(number, typed)| self.untyped(number, typed));
        let alu = match operation {
            Arithmetic::Add => Alu::Add,
            Arithmetic::Subtract => Alu::Subtract,
            Arithmetic::Multiply => Alu::Multiply,
            Arithmetic::And => Alu::And,
            Arithmetic::Or => Alu::Or,
            Arithmetic::Xor => Alu::Xor,
            Arithmetic::Divide | Arithmetic::Modulo if signed => {
                return self.divide_signed(operation == Arithmetic::Divide, left, right);
            }
            Arithmetic::Divide => Alu::Divide,
            Arithmetic::Modulo => Alu::Modulo,
            Arithmetic::ShiftLeft | Arithmetic::ShiftRight => {
                // The machine takes the lowest six bits; the verifier refuses a larger number that it knows.
                let count = match right {
                    Operand::Number(count) => Operand::Number(count & 63),
                    value @ Operand::Value(_) => value,
                };
                let alu = match (operation, signed) {
                    (Arithmetic::ShiftLeft, _) => Alu::ShiftLeft,
                    (_, true) => Alu::ShiftRightSigned,
                    (_, false) => Alu::ShiftRight,
                };
                return self.builder.alu(alu, left, count);
            }
        };
        self.builder.alu(alu, left, right)
    }

    /// Division as in C: the machine's own has no signs. The quotient is negative where one of the two is, the rest
    /// where the dividend is.
    pub(super) fn divide_signed(&mut self, quotient: bool, left: Operand, right: Operand) -> Operand {
        let dividend = self.builder.in_value(left);
        let absolute = self.absolute(dividend);
        let divisor = match right {
            Operand::Number(number) => Operand::Number(number.saturating_abs()),
            Operand::Value(value) => self.absolute(value),
        };
        let operation = if quotient { Alu::Divide } else { Alu::Modulo };
        let plain = self.builder.alu(operation, absolute, divisor);
        let sign = if quotient { self.builder.alu(Alu::Xor, left, right) } else { dividend.into() };
        let result = self.builder.value();
        self.builder.assign(result, plain);
        let (negative, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(Compare::LessSigned, sign, Operand::Number(0), negative, done);
        self.builder.switch_to(negative);
        let negated = self.negate(result);
        self.builder.assign(result, negated);
        self.builder.jump(done);
        self.builder.switch_to(done);
        result.into()
    }

    fn absolute(&mut self, value: Value) -> Operand {
        let result = self.builder.value();
        self.builder.assign(result, value.into());
        let (negative, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(Compare::LessSigned, result.into(), Operand::Number(0), negative, done);
        self.builder.switch_to(negative);
        let negated = self.negate(result);
        self.builder.assign(result, negated);
        self.builder.jump(done);
        self.builder.switch_to(done);
        result.into()
    }
}
