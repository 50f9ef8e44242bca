//! Memory for what is longer than a number: on the stack if it is short, else in the arena; and how it is filled.

use super::{Home, Lowerer};
use crate::code::ir::{Argument, Base, Operand, Operation, Value};
use crate::code::{Compare, Width};
use crate::helper;
use crate::typed::{Expression, ExpressionKind, Source};
use crate::types::{Access, Space, Type};

/// Bytes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) base: Base,
    pub(super) offset: i16,
}

impl Place {
    /// So many bytes on.
    pub(super) fn at(self, bytes: u32) -> Self {
        Self { base: self.base, offset: self.offset.saturating_add(i16::try_from(bytes).unwrap_or(i16::MAX)) }
    }

    /// Its address.
    pub(super) fn argument(self) -> Argument {
        Argument::Address(self.base, self.offset)
    }
}

/// The longest value that goes to the stack, in bytes.
const SHORT: u32 = 64;
/// Bytes of the stack that values take; the rest is left for values that find no register.
const FRAME_SHARE: u32 = 384;
/// Words that are zeroed one by one; more are left to a helper.
const ZEROED_BY_HAND: u32 = 16;

/// How much of the stack and the arena is taken now, and was at most.
#[derive(Debug, Default)]
pub(super) struct Memory {
    frame: u32,
    frame_most: u32,
    arena: u32,
    arena_most: u32,
}

/// What was taken at some time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u32, u32);

impl Memory {
    pub(super) fn reserve(&mut self, room: u32, arena: Value) -> Place {
        if room <= SHORT && self.frame + room <= FRAME_SHARE {
            return self.reserve_frame(room);
        }
        let offset = i16::try_from(self.arena).unwrap_or(i16::MAX);
        self.arena += room;
        self.arena_most = self.arena_most.max(self.arena);
        Place { base: Base::Value(arena), offset }
    }

    pub(super) fn reserve_frame(&mut self, room: u32) -> Place {
        self.frame += room;
        self.frame_most = self.frame_most.max(self.frame);
        Place { base: Base::Frame, offset: -i16::try_from(self.frame).unwrap_or(i16::MAX) }
    }

    /// For a function that this one calls: a frame of its own, and what is free of the arena.
    pub(super) fn called(&self) -> Self {
        Self { frame: 0, frame_most: 0, arena: self.arena, arena_most: self.arena_most }
    }

    /// What a called function took of the arena.
    pub(super) fn returned(&mut self, called: &Self) {
        self.arena_most = self.arena_most.max(called.arena_most);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.frame, self.arena)
    }

    /// What was reserved since is free again.
    pub(super) fn release(&mut self, Mark(frame, arena): Mark) {
        (self.frame, self.arena) = (frame, arena);
    }

    pub(super) fn frame_used(&self) -> u32 {
        self.frame_most
    }

    pub(super) fn arena_used(&self) -> u32 {
        self.arena_most
    }
}

/// Whether the bytes behind a value must be zero: in keys and in what is compared, but not in output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Zeroes,
    Anything,
}

impl Lowerer<'_> {
    /// Where a value lies: where it is already, or in memory that is filled for it.
    pub(super) fn place(&mut self, value: &Expression) -> Place {
        match &value.kind {
            ExpressionKind::Variable(variable) => {
                if let Some(Home::Memory(place)) = self.variables.get(*variable) {
                    return *place;
                }
            }
            ExpressionKind::Element(tuple, index) if !tuple.ty.is_number() => {
                let before = match &tuple.ty {
                    Type::Tuple(items) => items.iter().take(*index).map(Type::room).sum(),
                    _ => 0,
                };
                return self.place(tuple).at(before);
            }
            _ => {}
        }
        let place = self.temporary(&value.ty);
        self.write(value, place, Fill::Zeroes);
        place
    }

    /// Writes a value to memory.
    pub(super) fn write(&mut self, value: &Expression, to: Place, fill: Fill) {
        let outside = self.builder.at(value.span);
        let room = value.ty.room();
        match &value.kind {
            _ if value.ty.is_number() => {
                let number = self.number(value);
                self.builder.store(to.base, to.offset, Width::Eight, number);
            }
            ExpressionKind::Text(text) => self.write_text(text, to, room, fill),
            // A number as an array of its bytes; what is behind them is zero.
            ExpressionKind::Retype(inner) => {
                let number = self.number(inner);
                let size = u8::try_from(value.ty.size()).unwrap_or(8);
                let number = self.narrow(number, &Type::Int { size, signed: false });
                self.builder.store(to.base, to.offset, Width::Eight, number);
            }
            ExpressionKind::Source(Source::Comm(Some(offset))) => self.write_comm(*offset, to),
            ExpressionKind::Source(Source::Comm(None)) => {
                if fill == Fill::Zeroes {
                    // Kernels 6.0 to 6.2 write nothing behind the name's end (`bpf_get_current_comm`).
                    self.zero(to, room);
                }
                self.builder.call_only(helper::GET_CURRENT_COMM, vec![to.argument(), Operand::Number(16).into()]);
            }
            ExpressionKind::Source(Source::Stack(space)) => self.write_stack(value, *space, to),
            ExpressionKind::Variable(_) | ExpressionKind::Element(..) => {
                let from = self.place(value);
                self.copy(from, to, room);
            }
            ExpressionKind::Entry(entry) => {
                let entry = entry.clone();
                self.write_entry(&entry, to, room);
            }
            ExpressionKind::Conditional(condition, then, otherwise) => {
                let (yes, no, done) = (self.builder.block(), self.builder.block(), self.builder.block());
                self.branch(condition, yes, no);
                for (block, value) in [(yes, then), (no, otherwise)] {
                    self.builder.switch_to(block);
                    self.write(value, to, fill);
                    self.builder.jump(done);
                }
                self.builder.switch_to(done);
            }
            ExpressionKind::Widen(inner) => {
                self.write(inner, to, fill);
                if fill == Fill::Zeroes {
                    let own = inner.ty.room();
                    self.zero(to.at(own), room.saturating_sub(own));
                }
            }
            ExpressionKind::Tuple(items) => {
                let mut at = to;
                for item in items {
                    self.write(item, at, fill);
                    at = at.at(item.ty.room());
                }
            }
            ExpressionKind::TextAt { pointer, space, length } => {
                self.write_text_at(pointer, *space, length.as_deref(), &value.ty, to, fill);
            }
            ExpressionKind::BytesAt { pointer, length } => {
                self.write_bytes(pointer, length.as_deref(), &value.ty, to, fill);
            }
            ExpressionKind::Address { family, bytes } => self.write_address(family, bytes, to),
            ExpressionKind::Memory { pointer, offset, access, .. } => {
                let size = value.ty.size();
                let from = self.address(pointer, *offset);
                let helper = if *access == Access::User { helper::PROBE_READ_USER } else { helper::PROBE_READ_KERNEL };
                let size_argument = self.builder.number(size.into());
                self.builder.call_only(helper, vec![to.argument(), size_argument.into(), from.into()]);
                let tail = room - size.min(room);
                if tail > 0 {
                    // The last word was written in part only.
                    self.zero_bytes(to.at(size), tail);
                }
            }
            _ => self.zero(to, room),
        }
        self.builder.at(outside);
    }

    /// Where a value lies for as long as the statement runs; a variable's own place.
    pub(super) fn own_place(&mut self, value: &Expression) -> Place {
        match &value.kind {
            ExpressionKind::Variable(variable) => match self.variables.get(*variable) {
                Some(Home::Cell(place)) => *place,
                _ => self.place(value),
            },
            _ => self.place(value),
        }
    }

    pub(super) fn address_of(&mut self, value: &Expression) -> Operand {
        let place = self.own_place(value);
        let to = self.builder.value();
        self.builder.push(Operation::Address { to, base: place.base, offset: place.offset });
        to.into()
    }

    /// A pointer's value and so many bytes more.
    pub(super) fn address(&mut self, pointer: &Expression, offset: i64) -> Operand {
        let pointer = self.number(pointer);
        let offset = self.builder.number(offset);
        self.builder.alu(crate::code::Alu::Add, pointer, offset)
    }

    fn write_stack(&mut self, value: &Expression, space: Space, to: Place) {
        let number = self.source(match value.kind {
            ExpressionKind::Source(source) => source,
            _ => return,
        });
        self.builder.store(to.base, to.offset, Width::Eight, number);
        if space == Space::User {
            // User addresses mean nothing without the process.
            let pid = self.source(Source::Pid);
            self.builder.store(to.base, to.at(8).offset, Width::Eight, pid);
        }
    }

    fn write_address(&mut self, family: &Expression, bytes: &Expression, to: Place) {
        let family = self.number(family);
        self.builder.store(to.base, to.offset, Width::Eight, family);
        let to = to.at(8);
        match &bytes.kind {
            ExpressionKind::Memory { pointer, offset, access, .. } if !bytes.ty.is_number() => {
                let from = self.address(pointer, *offset);
                let helper = if *access == Access::User { helper::PROBE_READ_USER } else { helper::PROBE_READ_KERNEL };
                let size = bytes.ty.size();
                self.zero(to, 16);
                let size = self.builder.number(size.into());
                self.builder.call_only(helper, vec![to.argument(), size.into(), from.into()]);
            }
            _ if bytes.ty.is_number() => {
                let number = self.number(bytes);
                self.builder.store(to.base, to.offset, Width::Eight, number);
                self.zero(to.at(8), 8);
            }
            _ => {
                let from = self.place(bytes);
                let room = bytes.ty.room();
                self.copy(from, to, room);
                self.zero(to.at(room), 16 - room.min(16));
            }
        }
    }

    /// Copies words.
    pub(super) fn copy(&mut self, from: Place, to: Place, room: u32) {
        for at in (0..room).step_by(8) {
            let (from, to) = (from.at(at), to.at(at));
            let word = self.builder.load(from.base, from.offset, Width::Eight);
            self.builder.store(to.base, to.offset, Width::Eight, word.into());
        }
    }

    /// Zeroes words.
    pub(super) fn zero(&mut self, to: Place, room: u32) {
        if room / 8 > ZEROED_BY_HAND {
            // Reading from address zero fails, and the helper then zeroes all that it should have written.
            let size = self.builder.number(room.into());
            let nothing = Operand::Number(0).into();
            self.builder.call_only(helper::PROBE_READ_KERNEL, vec![to.argument(), size.into(), nothing]);
            return;
        }
        for at in (0..room).step_by(8) {
            let to = to.at(at);
            self.builder.store(to.base, to.offset, Width::Eight, Operand::Number(0));
        }
    }

    /// Zeroes bytes up to the end of a word.
    fn zero_bytes(&mut self, to: Place, bytes: u32) {
        for at in 0..bytes {
            let to = to.at(at);
            self.builder.store(to.base, to.offset, Width::One, Operand::Number(0));
        }
    }

    /// A map's entry, or zeroes where there is none.
    fn write_entry(&mut self, entry: &crate::typed::Entry, to: Place, room: u32) {
        let Some(key) = &entry.key else {
            let value = self.builder.map_value(self.places.own(entry.map), 0);
            return self.copy(Place { base: Base::Value(value), offset: 0 }, to, room);
        };
        let found = self.lookup(entry.map, key);
        let (hit, miss, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), hit, miss);
        self.builder.switch_to(hit);
        self.copy(Place { base: Base::Value(found), offset: 0 }, to, room);
        self.builder.jump(done);
        self.builder.switch_to(miss);
        self.zero(to, room);
        self.builder.jump(done);
        self.builder.switch_to(done);
    }

    /// The address of a map's entry, or zero.
    pub(super) fn lookup(&mut self, map: usize, key: &Expression) -> Value {
        let key = self.place(key);
        let map = Argument::Map(self.places.own(map));
        self.builder.call(helper::MAP_LOOKUP_ELEM, vec![map, key.argument()])
    }
}
