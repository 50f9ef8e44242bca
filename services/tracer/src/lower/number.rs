//! Numbers.

use super::memory::Place;
use super::{Home, Lowerer};
use crate::code::ir::{Argument, Base, Operand, Operation, Value};
use crate::code::{Alu, Compare, Width};
use crate::helper;
use crate::plan::counter;
use crate::typed::{Entry, Expression, ExpressionKind, Source, Stepping, Unary};
use crate::types::{Access, Space, Type};

/// Has a helper that keeps stacks take the process' (`BPF_F_USER_STACK`).
const USER_STACK: i32 = 1 << 8;
/// Has an entry be made, and none be changed (`BPF_NOEXIST`).
const ONLY_NEW: i32 = 1;

impl Lowerer<'_> {
    /// A number's value.
    pub(super) fn number(&mut self, value: &Expression) -> Operand {
        let outside = self.builder.at(value.span);
        let number = self.number_of(value);
        self.builder.at(outside);
        number
    }

    fn number_of(&mut self, value: &Expression) -> Operand {
        match &value.kind {
            ExpressionKind::Int(number) => self.builder.number(*number),
            ExpressionKind::Variable(variable) => match self.variables.get(*variable) {
                Some(Home::Number(value)) => Operand::Value(*value),
                Some(Home::Cell(place)) => self.builder.load(place.base, place.offset, Width::Eight).into(),
                _ => Operand::Number(0),
            },
            ExpressionKind::Entry(entry) => self.entry(entry),
            ExpressionKind::Total(entry) => self.total(entry),
            ExpressionKind::Source(source) => {
                let number = self.source(*source);
                match (source, &value.ty.nameless()) {
                    // The kernel hands on whole words, whose upper halves need not mean anything.
                    (Source::ContextPart(_, 8), Type::Int { size: 1..=4, .. } | Type::Bool) => {
                        self.narrow(number, &value.ty)
                    }
                    (Source::ContextPart(_, 1..=4), Type::Int { signed: true, .. }) => self.narrow(number, &value.ty),
                    _ => number,
                }
            }
            ExpressionKind::Unary(Unary::Invert, operand) => {
                let number = self.plain(operand);
                self.builder.alu(Alu::Xor, number, Operand::Number(-1))
            }
            ExpressionKind::Unary(Unary::Negate, operand) => {
                let number = self.number(operand);
                let from = self.builder.in_value(number);
                self.negate(from)
            }
            ExpressionKind::Binary(operation, left, right) => {
                self.binary(*operation, left, right, value.ty.is_signed())
            }
            ExpressionKind::Length(map) => self.map_length(*map),
            ExpressionKind::Contains { text, part } => self.contains(text, part),
            ExpressionKind::Compare(..)
            | ExpressionKind::Logical { .. }
            | ExpressionKind::Unary(Unary::Not, _)
            | ExpressionKind::SameText { .. }
            | ExpressionKind::HasKey(_) => self.truth(value),
            ExpressionKind::Conditional(condition, then, otherwise) => {
                let result = self.builder.value();
                let (yes, no, done) = (self.builder.block(), self.builder.block(), self.builder.block());
                self.branch(condition, yes, no);
                for (block, value) in [(yes, then), (no, otherwise)] {
                    self.builder.switch_to(block);
                    let number = self.plain(value);
                    self.builder.assign(result, number);
                    self.builder.jump(done);
                }
                self.builder.switch_to(done);
                result.into()
            }
            ExpressionKind::Narrow(inner) => {
                let number = self.plain(inner);
                self.narrow(number, &value.ty)
            }
            ExpressionKind::Retype(inner) => self.number(inner),
            ExpressionKind::AddressOf(of) => self.address_of(of),
            ExpressionKind::Element(tuple, _) if !tuple.ty.is_number() => {
                let place = self.place(value);
                Operand::Value(self.builder.load(place.base, place.offset, Width::Eight))
            }
            ExpressionKind::StepVariable(variable, stepping) => self.step_variable(*variable, *stepping),
            ExpressionKind::StepEntry(entry, stepping) => self.step_entry(entry, *stepping),
            ExpressionKind::Memory { pointer, offset, access, bits } => {
                self.read(&value.ty, pointer, *offset, *access, *bits)
            }
            ExpressionKind::Swap(inner) => {
                let from = self.number(inner);
                let from = self.builder.in_value(from);
                let width = Width::of(value.ty.size()).unwrap_or(Width::Eight);
                let to = self.builder.value();
                self.builder.push(Operation::Swap { to, from, width });
                to.into()
            }
            _ => Operand::Number(0),
        }
    }

    /// Two numbers, the left one as it was before the right one was computed.
    pub(super) fn both(&mut self, left: &Expression, right: &Expression) -> (Operand, Operand) {
        let mut first = self.number(left);
        if let (Operand::Value(from), true) = (first, steps(right)) {
            let to = self.builder.value();
            self.builder.push(Operation::Copy { to, from });
            first = to.into();
        }
        (first, self.number(right))
    }

    /// Process and thread, in one number.
    fn thread(&mut self) -> Operand {
        let known = self.known.thread;
        known.unwrap_or_else(|| self.builder.call(helper::GET_CURRENT_PID_TGID, Vec::new())).into()
    }

    /// What the kernel tells.
    pub(super) fn source(&mut self, source: Source) -> Operand {
        let call = |lowerer: &mut Self, helper| Operand::Value(lowerer.builder.call(helper, Vec::new()));
        match source {
            Source::Pid => {
                let both = self.thread();
                self.builder.alu(Alu::ShiftRight, both, Operand::Number(32))
            }
            Source::Tid => {
                let both = self.thread();
                self.narrow(both, &Type::UINT32)
            }
            Source::Uid => {
                let both = call(self, helper::GET_CURRENT_UID_GID);
                self.narrow(both, &Type::UINT32)
            }
            Source::Gid => {
                let both = call(self, helper::GET_CURRENT_UID_GID);
                self.builder.alu(Alu::ShiftRight, both, Operand::Number(32))
            }
            Source::Clock(helper) | Source::Task(helper) => call(self, helper),
            Source::Elapsed => {
                let start = self.builder.map_value(self.places.counters(), counter::START);
                let start = self.builder.load(Base::Value(start), 0, Width::Eight);
                let now = call(self, helper::KTIME_GET_BOOT_NS);
                self.builder.alu(Alu::Subtract, now, start.into())
            }
            Source::Cpu => call(self, helper::GET_SMP_PROCESSOR_ID),
            Source::NumaNode => call(self, helper::GET_NUMA_NODE_ID),
            Source::Random => {
                let number = call(self, helper::GET_PRANDOM_U32);
                self.narrow(number, &Type::UINT32)
            }
            Source::Cgroup => call(self, helper::GET_CURRENT_CGROUP_ID),
            Source::Jiffies => call(self, helper::JIFFIES64),
            Source::Context => self.context.into(),
            Source::ContextPart(offset, size) => {
                let width = Width::of(size.into()).unwrap_or(Width::Eight);
                Operand::Value(self.builder.load(Base::Value(self.context), offset, width))
            }
            Source::Stack(space) => {
                let flags = if space == Space::User { USER_STACK } else { 0 };
                let stacks = Argument::Map(self.places.stacks());
                let arguments = vec![Operand::Value(self.context).into(), stacks, Operand::Number(flags).into()];
                Operand::Value(self.builder.call(helper::GET_STACKID, arguments))
            }
            Source::Frames(space, depth) => self.frames(space, depth),
            Source::FunctionAddress => {
                Operand::Value(self.builder.call(helper::GET_FUNC_IP, vec![Operand::Value(self.context).into()]))
            }
            Source::Comm(_) => Operand::Number(0),
        }
    }

    /// How many frames a stack has: each is an address of eight bytes.
    fn frames(&mut self, space: Space, depth: u32) -> Operand {
        let size = depth * 8;
        let place = self.memory.reserve(size, self.arena);
        let flags = if space == Space::User { USER_STACK } else { 0 };
        let size = self.builder.number(size.into());
        let arguments =
            vec![Operand::Value(self.context).into(), place.argument(), size.into(), Operand::Number(flags).into()];
        let bytes = self.builder.call(helper::GET_STACK, arguments);
        let result = self.builder.value();
        self.builder.assign(result, Operand::Number(0));
        let (some, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(Compare::GreaterSigned, bytes.into(), Operand::Number(0), some, done);
        self.builder.switch_to(some);
        let count = self.builder.alu(Alu::ShiftRight, bytes.into(), Operand::Number(3));
        self.builder.assign(result, count);
        self.builder.jump(done);
        self.builder.switch_to(done);
        result.into()
    }

    /// A number as one of fewer bytes.
    pub(super) fn narrow(&mut self, number: Operand, ty: &Type) -> Operand {
        let (size, signed) = match &ty.nameless() {
            Type::Int { size, signed } => (u32::from(*size), *signed),
            Type::Bool => (1, false),
            _ => return number,
        };
        match (size, signed) {
            (8.., _) => number,
            (1 | 2, false) => self.builder.alu(Alu::And, number, Operand::Number((1 << (size * 8)) - 1)),
            _ => {
                let shift = Operand::Number((64 - size * 8).cast_signed());
                let left = self.builder.alu(Alu::ShiftLeft, number, shift);
                let right = if signed { Alu::ShiftRightSigned } else { Alu::ShiftRight };
                self.builder.alu(right, left, shift)
            }
        }
    }

    fn step_variable(&mut self, variable: usize, stepping: Stepping) -> Operand {
        let value = match self.variables.get(variable).copied() {
            Some(Home::Number(value)) => value,
            Some(Home::Cell(place)) => {
                let before = self.builder.load(place.base, place.offset, Width::Eight);
                let by = self.builder.number(stepping.by);
                let after = self.builder.alu(Alu::Add, before.into(), by);
                self.builder.store(place.base, place.offset, Width::Eight, after);
                return if stepping.before { before.into() } else { after };
            }
            _ => return Operand::Number(0),
        };
        let before = self.builder.value();
        self.builder.push(Operation::Copy { to: before, from: value });
        let by = self.builder.number(stepping.by);
        let after = self.builder.alu(Alu::Add, value.into(), by);
        self.builder.assign(value, after);
        if stepping.before { before.into() } else { value.into() }
    }

    /// A number in a map; zero where there is none.
    fn entry(&mut self, entry: &Entry) -> Operand {
        if let Some(number) = self.known.entry(entry) {
            return number;
        }
        let Some(key) = &entry.key else {
            let value = self.builder.map_value(self.places.own(entry.map), 0);
            return self.builder.load(Base::Value(value), 0, Width::Eight).into();
        };
        let result = self.builder.value();
        self.builder.assign(result, Operand::Number(0));
        let found = self.lookup(entry.map, key);
        let (hit, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), hit, done);
        self.builder.switch_to(hit);
        let number = self.builder.load(Base::Value(found), 0, Width::Eight);
        self.builder.assign(result, number.into());
        self.builder.jump(done);
        self.builder.switch_to(done);
        result.into()
    }

    fn step_entry(&mut self, entry: &Entry, stepping: Stepping) -> Operand {
        self.known.change(entry.map);
        let by = self.builder.number(stepping.by);
        let Some(key) = &entry.key else {
            let value = self.builder.map_value(self.places.own(entry.map), 0);
            let place = Place { base: Base::Value(value), offset: 0 };
            self.builder.store(place.base, 8, Width::Eight, Operand::Number(1));
            return self.step_at(place, by, stepping.before);
        };
        let key = self.place(key);
        let map = Argument::Map(self.places.own(entry.map));
        let found = self.builder.call(helper::MAP_LOOKUP_ELEM, vec![map, key.argument()]);
        let result = self.builder.value();
        let (hit, miss, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), hit, miss);
        self.builder.switch_to(miss);
        let first = self.memory.reserve_frame(8);
        self.builder.store(first.base, first.offset, Width::Eight, by);
        // Another CPU may make the entry first: then it is stepped like any other.
        let arguments = vec![map, key.argument(), first.argument(), Operand::Number(ONLY_NEW).into()];
        let failed = self.builder.call(helper::MAP_UPDATE_ELEM, arguments);
        let (again, full, made) = (self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.branch(Compare::Equal, failed.into(), Operand::Number(0), made, again);
        self.builder.switch_to(again);
        let second = self.builder.call(helper::MAP_LOOKUP_ELEM, vec![map, key.argument()]);
        self.builder.assign(found, second.into());
        self.builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), hit, full);
        self.builder.switch_to(full);
        self.count(counter::FULL);
        self.builder.jump(made);
        self.builder.switch_to(made);
        self.builder.assign(result, if stepping.before { Operand::Number(0) } else { by });
        self.builder.jump(done);
        self.builder.switch_to(hit);
        let number = self.step_at(Place { base: Base::Value(found), offset: 0 }, by, stepping.before);
        self.builder.assign(result, number);
        self.builder.jump(done);
        self.builder.switch_to(done);
        result.into()
    }

    /// Steps a number that other CPUs may step at the same time.
    fn step_at(&mut self, place: Place, by: Operand, give_before: bool) -> Operand {
        let from = self.builder.in_value(by);
        let before = self.builder.value();
        let (base, offset) = (place.base, place.offset);
        self.builder.push(Operation::AtomicAdd { base, offset, from, before: Some(before) });
        if give_before { before.into() } else { self.builder.alu(Alu::Add, before.into(), by) }
    }

    /// Reads a number in the kernel's or the process' memory.
    fn read(
        &mut self,
        ty: &Type,
        pointer: &Expression,
        offset: i64,
        access: Access,
        bits: Option<(u32, u32)>,
    ) -> Operand {
        let width = Width::of(ty.size()).unwrap_or(Width::Eight);
        let own = match &pointer.kind {
            ExpressionKind::AddressOf(of) => u32::try_from(offset).ok().map(|offset| (of, offset)),
            _ => None,
        };
        let word = if let Some((of, offset)) = own.filter(|(_, offset)| offset.is_multiple_of(width.bytes())) {
            let place = self.own_place(of).at(offset);
            self.builder.load(place.base, place.offset, width).into()
        } else if let (Access::Direct, Ok(offset)) = (access, i16::try_from(offset)) {
            let base = self.number(pointer);
            let base = self.builder.in_value(base);
            self.read_directly(base, offset, width)
        } else {
            let from = self.address(pointer, offset);
            let to = self.memory.reserve_frame(8);
            let helper = if access == Access::User { helper::PROBE_READ_USER } else { helper::PROBE_READ_KERNEL };
            let size = Operand::Number(width.bytes().cast_signed());
            self.builder.call_only(helper, vec![to.argument(), size.into(), from.into()]);
            self.builder.load(to.base, to.offset, width).into()
        };
        let Some((first, count)) = bits else {
            return if ty.is_signed() { self.narrow(word, ty) } else { word };
        };
        let left = Operand::Number(64_u32.saturating_sub(first + count).cast_signed());
        let shifted = self.builder.alu(Alu::ShiftLeft, word, left);
        let right = if ty.is_signed() { Alu::ShiftRightSigned } else { Alu::ShiftRight };
        self.builder.alu(right, shifted, Operand::Number(64_u32.saturating_sub(count).cast_signed()))
    }

    /// Reads through a pointer whose type the verifier knows; it may be null, and reads as zero then.
    fn read_directly(&mut self, base: Value, offset: i16, width: Width) -> Operand {
        let result = self.builder.value();
        self.builder.assign(result, Operand::Number(0));
        let (there, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(Compare::NotEqual, base.into(), Operand::Number(0), there, done);
        self.builder.switch_to(there);
        let word = self.builder.load(Base::Value(base), offset, width);
        self.builder.assign(result, word.into());
        self.builder.jump(done);
        self.builder.switch_to(done);
        result.into()
    }
}

/// Whether computing a value changes variables.
fn steps(value: &Expression) -> bool {
    value.any(&mut |part| matches!(part.kind, ExpressionKind::StepVariable(..)))
}
