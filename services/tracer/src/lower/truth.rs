//! Conditions: where a probe goes on.

use super::Lowerer;
use crate::code::Compare;
use crate::code::ir::{BlockId, Operand};
use crate::typed::{Comparison, Expression, ExpressionKind, Unary};

impl Lowerer<'_> {
    /// Goes on in one of two blocks.
    pub(super) fn branch(&mut self, condition: &Expression, then: BlockId, otherwise: BlockId) {
        let outside = self.builder.at(condition.span);
        match &condition.kind {
            ExpressionKind::Compare(comparison, signed, left, right) => {
                let compare = compare(*comparison, *signed);
                let (left, right) = self.both(left, right);
                self.builder.branch(compare, left, right, then, otherwise);
            }
            ExpressionKind::Logical { and, left, right } => {
                let second = self.builder.block();
                if *and {
                    self.branch(left, second, otherwise);
                } else {
                    self.branch(left, then, second);
                }
                self.builder.switch_to(second);
                self.branch(right, then, otherwise);
            }
            ExpressionKind::Unary(Unary::Not, inner) => self.branch(inner, otherwise, then),
            ExpressionKind::SameText { left, right, length, negated } => {
                let (same, other) = if *negated { (otherwise, then) } else { (then, otherwise) };
                self.branch_same(left, right, *length, same, other);
            }
            ExpressionKind::HasKey(entry) => {
                let found = match &entry.key {
                    Some(key) => self.lookup(entry.map, key).into(),
                    None => Operand::Number(1),
                };
                self.builder.branch(Compare::NotEqual, found, Operand::Number(0), then, otherwise);
            }
            _ => {
                let number = self.number(condition);
                self.builder.branch(Compare::NotEqual, number, Operand::Number(0), then, otherwise);
            }
        }
        self.builder.at(outside);
    }

    /// A condition as 1 or 0.
    pub(super) fn truth(&mut self, condition: &Expression) -> Operand {
        let result = self.builder.value();
        let (yes, no, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        self.branch(condition, yes, no);
        for (block, number) in [(yes, 1), (no, 0)] {
            self.builder.switch_to(block);
            self.builder.assign(result, Operand::Number(number));
            self.builder.jump(done);
        }
        self.builder.switch_to(done);
        result.into()
    }
}

/// The machine's comparison.
pub(super) fn compare(comparison: Comparison, signed: bool) -> Compare {
    match (comparison, signed) {
        (Comparison::Equal, _) => Compare::Equal,
        (Comparison::NotEqual, _) => Compare::NotEqual,
        (Comparison::Less, false) => Compare::Less,
        (Comparison::LessEqual, false) => Compare::LessEqual,
        (Comparison::Greater, false) => Compare::Greater,
        (Comparison::GreaterEqual, false) => Compare::GreaterEqual,
        (Comparison::Less, true) => Compare::LessSigned,
        (Comparison::LessEqual, true) => Compare::LessEqualSigned,
        (Comparison::Greater, true) => Compare::GreaterSigned,
        (Comparison::GreaterEqual, true) => Compare::GreaterEqualSigned,
    }
}
