//! The front of a map ([`crate::plan::front`]): looked at before the map is.

use super::Lowerer;
use super::memory::Place;
use crate::code::ir::{Argument, Base, BlockId, Operand, Operation, Value};
use crate::code::{Alu, Compare, Width};
use crate::helper;
use crate::plan::front;

/// The place in a front where a key may be.
pub(super) struct Slot {
    at: Value,
    key: Vec<Value>,
}

impl Slot {
    fn base(&self) -> Base {
        Base::Value(self.at)
    }

    /// Where its words are in turn, and which they would be.
    fn words(&self) -> impl Iterator<Item = (i16, Value)> + use<'_> {
        (front::KEY..).step_by(8).zip(self.key.iter().copied())
    }

    /// Where what was gathered is.
    pub(super) fn value(&self) -> Place {
        let base = Place { base: self.base(), offset: front::KEY };
        base.at(u32::try_from(self.key.len() * 8).unwrap_or(0))
    }
}

impl Lowerer<'_> {
    /// The place of a key of so many bytes. Where it is another's, the map itself is next; `never` is taken if there
    /// is no front, which the verifier alone believes.
    pub(super) fn slot(&mut self, map: usize, key: Place, room: u32, value: u32, never: BlockId) -> Option<Slot> {
        let front = Argument::Map(self.places.front(map)?);
        let zero = self.memory.reserve_frame(8);
        self.builder.store(zero.base, zero.offset, Width::Four, Operand::Number(0));
        let table = self.builder.call(helper::MAP_LOOKUP_ELEM, vec![front, zero.argument()]);
        let there = self.builder.block();
        self.builder.branch(Compare::NotEqual, table.into(), Operand::Number(0), there, never);
        self.builder.switch_to(there);
        let words = (0..room).step_by(8).map(|at| key.at(at));
        let key: Vec<Value> = words.map(|at| self.builder.load(at.base, at.offset, Width::Eight)).collect();
        let multiplier = self.builder.number(front::MULTIPLIER.cast_signed());
        let mut hash = Operand::Number(0);
        for word in &key {
            let sum = self.builder.alu(Alu::Add, (*word).into(), hash);
            hash = self.builder.alu(Alu::Multiply, sum, multiplier);
        }
        // The upper bits depend on all of the key.
        let index = self.builder.alu(Alu::ShiftRight, hash, Operand::Number(64 - front::SLOT_BITS));
        let size = Operand::Number(front::slot(room, value).cast_signed());
        let distance = self.builder.alu(Alu::Multiply, index, size);
        let at = self.builder.alu(Alu::Add, table.into(), distance);
        Some(Slot { at: self.builder.in_value(at), key })
    }

    /// Goes on where the place is this key's, or where it is not.
    pub(super) fn branch_mine(&mut self, slot: &Slot, mine: BlockId, other: BlockId) {
        let next = self.builder.block();
        let state = self.builder.load(slot.base(), front::STATE, Width::Eight);
        self.builder.branch(Compare::Greater, state.into(), Operand::Number(front::TAKEN - 1), next, other);
        self.builder.switch_to(next);
        for (offset, word) in slot.words() {
            let next = self.builder.block();
            let theirs = self.builder.load(slot.base(), offset, Width::Eight);
            self.builder.branch(Compare::Equal, theirs.into(), word.into(), next, other);
            self.builder.switch_to(next);
        }
        self.builder.jump(mine);
    }

    /// Takes the place if it is free. Whoever interrupts this program finds it taken by nobody.
    pub(super) fn take(&mut self, slot: &Slot) {
        let (free, first, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        let state = self.builder.load(slot.base(), front::STATE, Width::Eight);
        self.builder.branch(Compare::Equal, state.into(), Operand::Number(0), free, done);
        self.builder.switch_to(free);
        let from = self.builder.in_value(Operand::Number(1));
        let before = self.builder.value();
        let (base, offset) = (slot.base(), front::STATE);
        self.builder.push(Operation::AtomicAdd { base, offset, from, before: Some(before) });
        self.builder.branch(Compare::Equal, before.into(), Operand::Number(0), first, done);
        self.builder.switch_to(first);
        for (offset, word) in slot.words() {
            self.builder.store(slot.base(), offset, Width::Eight, word.into());
        }
        self.builder.store(slot.base(), front::STATE, Width::Eight, Operand::Number(front::TAKEN));
        self.builder.jump(done);
        self.builder.switch_to(done);
    }
}
