//! Text and bytes.

use super::Lowerer;
use super::memory::{Fill, Place};
use crate::code::ir::{Base, BlockId, Operand, Operation, Value};
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

    /// The running thread's name, from the task itself: less than half of what `bpf_get_current_comm` costs. Behind its
    /// end there are zeroes, which the kernel itself sees to only since 5.17 (`__set_task_comm`).
    pub(super) fn write_comm(&mut self, offset: i16, to: Place) {
        let task = self.builder.call(helper::GET_CURRENT_TASK_BTF, Vec::new());
        let task = Base::Value(task);
        let first = self.builder.load(task, offset, Width::Eight);
        let second = self.builder.load(task, offset.saturating_add(8), Width::Eight);
        let (first, ends) = self.up_to_end(first);
        let (ended, goes_on, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.store(to.base, to.offset, Width::Eight, first);
        let to = to.at(8);
        self.builder.branch(Compare::NotEqual, ends.into(), Operand::Number(0), ended, goes_on);
        self.builder.switch_to(ended);
        self.builder.store(to.base, to.offset, Width::Eight, Operand::Number(0));
        self.builder.jump(done);
        self.builder.switch_to(goes_on);
        let (second, _) = self.up_to_end(second);
        self.builder.store(to.base, to.offset, Width::Eight, second);
        self.builder.jump(done);
        self.builder.switch_to(done);
    }

    /// Eight characters up to the first zero byte, and the highest bit of that byte alone, or 0 where there is none.
    fn up_to_end(&mut self, word: Value) -> (Operand, Value) {
        // What borrows below the lowest zero byte is nothing, so its mark is right, and only higher ones may be wrong.
        let ones = self.builder.number(0x0101_0101_0101_0101);
        let highs = self.builder.number(i64::from_ne_bytes([0x80; 8]));
        let less = self.builder.alu(Alu::Subtract, word.into(), ones);
        let inverted = self.builder.alu(Alu::Xor, word.into(), Operand::Number(-1));
        let marks = self.builder.alu(Alu::And, less, inverted);
        let marks = self.builder.alu(Alu::And, marks, highs);
        let marks = self.builder.in_value(marks);
        let negated = self.negate(marks);
        let lowest = self.builder.alu(Alu::And, marks.into(), negated);
        // 0x80 of byte n becomes all bits of the bytes before it, and none becomes all bits.
        let kept = self.builder.alu(Alu::ShiftRight, lowest, Operand::Number(7));
        let kept = self.builder.alu(Alu::Subtract, kept, Operand::Number(1));
        let word = self.builder.alu(Alu::And, word.into(), kept);
        (word, self.builder.in_value(lowest))
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

    /// Whether a text is somewhere in another, as 1 or 0. At each place where it may begin all bytes are compared before
    /// anything is decided: branches cost the verifier more than loads.
    pub(super) fn contains(&mut self, text: &Expression, part: &Expression) -> Operand {
        let whole = text.ty.size();
        // What is looked for, and at how many places it may begin.
        let (sought, places) = match &part.kind {
            ExpressionKind::Text(bytes) => {
                (Sought::Known(bytes), whole.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX)))
            }
            _ => (Sought::Read(self.place(part), part.ty.size().saturating_sub(1)), whole),
        };
        let length = match &sought {
            Sought::Known(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            Sought::Read(_, length) => *length,
        };
        // The last places look behind the text.
        let own = text.ty.room();
        let room = own.max((whole + length).next_multiple_of(8));
        let place = self.memory.reserve(room, self.arena);
        self.write(text, place, Fill::Zeroes);
        self.zero(place.at(own), room - own);
        let (start, at, result) = (self.builder.value(), self.builder.value(), self.builder.value());
        self.builder.push(Operation::Address { to: start, base: place.base, offset: place.offset });
        self.builder.assign(at, Operand::Number(0));
        self.builder.assign(result, Operand::Number(0));
        let (head, look, found, next, done) = (
            self.builder.block(),
            self.builder.block(),
            self.builder.block(),
            self.builder.block(),
            self.builder.block(),
        );
        self.builder.jump(head);
        self.builder.switch_to(head);
        let places = self.builder.number(places.into());
        self.builder.branch(Compare::Less, at.into(), places, look, done);
        self.builder.switch_to(look);
        let here = self.builder.alu(Alu::Add, start.into(), at.into());
        let here = self.builder.in_value(here);
        let difference = self.difference(here, &sought, length);
        self.builder.branch(Compare::Equal, difference, Operand::Number(0), found, next);
        self.builder.switch_to(found);
        self.builder.assign(result, Operand::Number(1));
        self.builder.jump(done);
        self.builder.switch_to(next);
        let more = self.builder.alu(Alu::Add, at.into(), Operand::Number(1));
        self.builder.assign(at, more);
        self.builder.jump(head);
        self.builder.switch_to(done);
        result.into()
    }

    /// Zero if the bytes from an address on are those that are sought.
    fn difference(&mut self, here: Value, sought: &Sought<'_>, length: u32) -> Operand {
        let mut all = Operand::Number(0);
        // 1 until what is sought has ended, then 0.
        let mut goes_on = Operand::Number(1);
        for index in 0..length {
            let offset = i16::try_from(index).unwrap_or(i16::MAX);
            let byte = self.builder.load(Base::Value(here), offset, Width::One);
            let differs = match sought {
                Sought::Known(bytes) => {
                    let wanted = bytes.get(index as usize).copied().unwrap_or(0);
                    self.builder.alu(Alu::Xor, byte.into(), Operand::Number(wanted.into()))
                }
                Sought::Read(place, _) => {
                    let wanted = place.at(index);
                    let wanted = self.builder.load(wanted.base, wanted.offset, Width::One);
                    // A mask of all ones would be handier, but the verifier follows what comes of both of its values.
                    let letter = self.builder.alu(Alu::Add, wanted.into(), Operand::Number(255));
                    let letter = self.builder.alu(Alu::ShiftRight, letter, Operand::Number(8));
                    goes_on = self.builder.alu(Alu::And, letter, goes_on);
                    let differs = self.builder.alu(Alu::Xor, byte.into(), wanted.into());
                    self.builder.alu(Alu::Multiply, differs, goes_on)
                }
            };
            all = self.builder.alu(Alu::Or, differs, all);
        }
        all
    }
}

/// What is looked for in a text.
enum Sought<'e> {
    /// These bytes.
    Known(&'e [u8]),
    /// Up to so many bytes from there, up to the first zero.
    Read(Place, u32),
}
