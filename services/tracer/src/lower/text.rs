//! Text and bytes.

use super::Lowerer;
use super::memory::{Fill, Place};
use crate::code::ir::{BlockId, Operand};
use crate::code::{Alu, Compare, Width};
use crate::helper;
use crate::typed::{Expression, ExpressionKind};
use crate::types::{Space, Type};

/// The bytes of a text that begin at `at`, as the machine reads them; behind the text there are zeroes.
fn word(text: &[u8], at: u32) -> i64 {
    let mut bytes = [0; 8];
    let rest = text.get(at as usize..).unwrap_or_default();
    bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    i64::from_le_bytes(bytes)
}

impl Lowerer<'_> {
    pub(super) fn write_text(&mut self, text: &[u8], to: Place, room: u32, fill: Fill) {
        let length = u32::try_from(text.len() + 1).unwrap_or(room).next_multiple_of(8).min(room);
        for at in (0..length).step_by(8) {
            let number = self.builder.number(word(text, at));
            let to = to.at(at);
            self.builder.store(to.base, to.offset, Width::Eight, number);
        }
        if fill == Fill::Zeroes {
            self.zero(to.at(length), room - length);
        }
    }

    pub(super) fn write_text_at(
        &mut self,
        pointer: &Expression,
        space: Space,
        length: Option<&Expression>,
        ty: &Type,
        to: Place,
        fill: Fill,
    ) {
        let room = ty.room();
        let max = ty.size();
        if fill == Fill::Zeroes {
            self.zero(to, room);
        }
        let size = self.bounded(length, max);
        let from = self.number(pointer);
        let helper = if space == Space::User { helper::PROBE_READ_USER_STR } else { helper::PROBE_READ_KERNEL_STR };
        self.builder.call_only(helper, vec![to.argument(), size.into(), from.into()]);
    }

    pub(super) fn write_bytes(
        &mut self,
        pointer: &Expression,
        length: Option<&Expression>,
        ty: &Type,
        to: Place,
        fill: Fill,
    ) {
        let max = match ty {
            Type::Bytes(size) => *size,
            _ => 0,
        };
        if fill == Fill::Zeroes {
            self.zero(to, ty.room());
        }
        let size = self.bounded(length, max);
        self.builder.store(to.base, to.offset, Width::Eight, size);
        let to = to.at(8);
        if let ExpressionKind::Text(text) = &pointer.kind {
            return self.write_text(text, to, max.next_multiple_of(8), fill);
        }
        let from = self.number(pointer);
        self.builder.call_only(helper::PROBE_READ_KERNEL, vec![to.argument(), size.into(), from.into()]);
    }

    /// A length that the verifier sees is at most `max`.
    fn bounded(&mut self, length: Option<&Expression>, max: u32) -> Operand {
        let most = self.builder.number(max.into());
        let Some(length) = length else { return most };
        let length = self.number(length);
        let bounded = self.builder.value();
        self.builder.assign(bounded, length);
        let (cut, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(Compare::Greater, bounded.into(), most, cut, done);
        self.builder.switch_to(cut);
        self.builder.assign(bounded, most);
        self.builder.jump(done);
        self.builder.switch_to(done);
        bounded.into()
    }

    /// Goes on in one block if two texts are the same, else in the other.
    pub(super) fn branch_same(
        &mut self,
        left: &Expression,
        right: &Expression,
        length: Option<u32>,
        same: BlockId,
        other: BlockId,
    ) {
        let (left, right) = if matches!(left.kind, ExpressionKind::Text(_)) { (right, left) } else { (left, right) };
        let left_room = left.ty.room();
        let place = self.place(left);
        // Bytes behind a text are zero, so whole words tell. Beyond the shorter one's room the longer must be zero.
        let (bytes, literal, right_place) = match &right.kind {
            ExpressionKind::Text(text) => {
                let own = u32::try_from(text.len() + 1).unwrap_or(u32::MAX);
                (own, Some(text.as_slice()), None)
            }
            _ => (right.ty.room(), None, Some(self.place(right))),
        };
        let mut count = bytes.max(if literal.is_some() { 0 } else { left_room });
        if let Some(length) = length {
            count = count.min(length);
        }
        let rounded = if length.is_some() { count } else { count.next_multiple_of(8) };
        let (left_room, right_room) = (left_room, right_place.map_or(u32::MAX, |_| right.ty.room()));
        for at in (0..rounded).step_by(8) {
            let next = self.builder.block();
            let mut left = if at < left_room {
                let from = place.at(at);
                Operand::Value(self.builder.load(from.base, from.offset, Width::Eight))
            } else {
                Operand::Number(0)
            };
            let mut right = match (literal, right_place) {
                (Some(text), _) => word(text, at),
                _ => 0,
            };
            let mut other_word = None;
            if let Some(from) = right_place.filter(|_| at < right_room) {
                let from = from.at(at);
                other_word = Some(Operand::Value(self.builder.load(from.base, from.offset, Width::Eight)));
            }
            if rounded - at < 8 {
                let mask = (1_i64 << ((rounded - at) * 8)) - 1;
                right &= mask;
                let mask = self.builder.number(mask);
                left = self.builder.alu(Alu::And, left, mask);
                other_word = other_word.map(|word| self.builder.alu(Alu::And, word, mask));
            }
            let right = other_word.unwrap_or_else(|| self.builder.number(right));
            self.builder.branch(Compare::Equal, left, right, next, other);
            self.builder.switch_to(next);
        }
        self.builder.jump(same);
    }
}
