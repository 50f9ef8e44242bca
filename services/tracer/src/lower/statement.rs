//! Statements.

use super::memory::Fill;
use super::{Home, Lowerer};
use crate::code::ir::{Argument, Base, Operand};
use crate::code::{Alu, Compare, Width};
use crate::helper;
use crate::typed::{Entry, Expression, Statement, StatementKind};
use crate::types::{Access, Type};

impl Lowerer<'_> {
    pub(super) fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            let outside = self.builder.at(statement.span);
            let mark = self.memory.mark();
            self.statement(&statement.kind);
            self.memory.release(mark);
            self.builder.at(outside);
        }
    }

    fn statement(&mut self, statement: &StatementKind) {
        match statement {
            StatementKind::Evaluate(value) => {
                if value.ty.is_number() {
                    self.number(value);
                } else {
                    self.place(value);
                }
            }
            StatementKind::Assign(variable, value) => self.assign(*variable, value),
            StatementKind::Put(entry, value) => self.put(entry, value),
            StatementKind::Gather(entry, value) => self.gather(entry, value.as_ref()),
            StatementKind::GatherAt(entry, value, time) => self.gather_at_time(entry, value, time),
            StatementKind::Delete(entry) => self.delete(entry),
            StatementKind::Send(output, values) => self.send(*output, values),
            StatementKind::If(condition, then, otherwise) => {
                let (yes, no, done) = (self.builder.block(), self.builder.block(), self.builder.block());
                self.branch(condition, yes, no);
                for (block, statements) in [(yes, then), (no, otherwise)] {
                    self.builder.switch_to(block);
                    self.statements(statements);
                    self.builder.jump(done);
                }
                self.builder.switch_to(done);
            }
            StatementKind::While(condition, body) => {
                self.known.begin_loop();
                let (head, inside, after) = (self.builder.block(), self.builder.block(), self.builder.block());
                self.builder.jump(head);
                self.builder.switch_to(head);
                self.branch(condition, inside, after);
                self.builder.switch_to(inside);
                self.loops.push((head, after));
                self.statements(body);
                self.loops.pop();
                self.builder.jump(head);
                self.builder.switch_to(after);
            }
            StatementKind::ForRange { variable, start, end, body } => self.for_range(*variable, start, end, body),
            StatementKind::ForMap { variable, map, body } => self.for_map(*variable, *map, body),
            StatementKind::Break | StatementKind::Continue => {
                if let Some((head, after)) = self.loops.last().copied() {
                    let to = if matches!(statement, StatementKind::Break) { after } else { head };
                    self.leave_to(to);
                }
            }
            StatementKind::Return => self.leave_to(self.exit),
        }
    }

    /// Goes elsewhere; what follows in the script is never reached.
    fn leave_to(&mut self, block: crate::code::ir::BlockId) {
        self.builder.jump(block);
        let after = self.builder.block();
        self.builder.switch_to(after);
    }

    fn assign(&mut self, variable: usize, value: &Expression) {
        match self.variables.get(variable).copied() {
            Some(Home::Number(to)) => {
                let direct = matches!(value.ty, Type::Pointer { access: Access::Direct, .. });
                let number = if direct { self.number(value) } else { self.plain(value) };
                self.builder.assign(to, number);
            }
            Some(Home::Cell(to)) => {
                let number = self.number(value);
                self.builder.store(to.base, to.offset, Width::Eight, number);
            }
            Some(Home::Memory(to)) => {
                // The new value may be made of the old one.
                let from = self.place(value);
                if from != to {
                    self.copy(from, to, value.ty.room());
                }
            }
            None => {}
        }
    }

    fn for_range(&mut self, variable: usize, start: &Expression, end: &Expression, body: &[Statement]) {
        self.known.begin_loop();
        let (first, last) = self.both(start, end);
        // Both are read once, before the first round.
        let limit = match last {
            Operand::Value(from) => {
                let to = self.builder.value();
                self.builder.assign(to, from.into());
                to.into()
            }
            number @ Operand::Number(_) => number,
        };
        let counter = self.builder.value();
        self.builder.assign(counter, first);
        let (head, inside, next, after) =
            (self.builder.block(), self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.jump(head);
        self.builder.switch_to(head);
        self.builder.branch(Compare::LessSigned, counter.into(), limit, inside, after);
        self.builder.switch_to(inside);
        match self.variables.get(variable).copied() {
            Some(Home::Number(number)) => self.builder.assign(number, counter.into()),
            Some(Home::Cell(place)) => self.builder.store(place.base, place.offset, Width::Eight, counter.into()),
            _ => {}
        }
        self.loops.push((next, after));
        self.statements(body);
        self.loops.pop();
        self.builder.jump(next);
        self.builder.switch_to(next);
        let more = self.builder.alu(Alu::Add, counter.into(), Operand::Number(1));
        self.builder.assign(counter, more);
        self.builder.jump(head);
        self.builder.switch_to(after);
    }

    fn put(&mut self, entry: &Entry, value: &Expression) {
        self.known.change(entry.map);
        let Some(key) = &entry.key else {
            // Text that is made of the map's own text must be whole before it goes there.
            if value.ty.is_number() {
                let number = self.number(value);
                let to = self.builder.map_value(self.places.own(entry.map), 0);
                self.builder.store(Base::Value(to), 0, Width::Eight, number);
                self.mark_set(to, value.ty.room());
                return;
            }
            let from = self.place(value);
            let to = self.builder.map_value(self.places.own(entry.map), 0);
            self.copy(from, super::memory::Place { base: Base::Value(to), offset: 0 }, value.ty.room());
            self.mark_set(to, value.ty.room());
            return;
        };
        let key = self.place(key);
        let place = self.temporary(&value.ty);
        self.write(value, place, Fill::Zeroes);
        self.update(entry.map, key, place);
    }

    /// Notes that a map without keys has a value.
    fn mark_set(&mut self, value: crate::code::ir::Value, room: u32) {
        let offset = i16::try_from(room).unwrap_or(i16::MAX);
        self.builder.store(Base::Value(value), offset, Width::Eight, Operand::Number(1));
    }

    fn delete(&mut self, entry: &Entry) {
        self.known.change(entry.map);
        let map = Argument::Map(self.places.own(entry.map));
        if let Some(key) = &entry.key {
            let key = self.place(key);
            self.builder.call_only(helper::MAP_DELETE_ELEM, vec![map, key.argument()]);
            return;
        }
        // What CPUs gathered is zeroed by user space only.
        if let Some(crate::typed::Held::Values(ty)) = self.script.maps.get(entry.map).map(|map| &map.value) {
            let to = self.builder.map_value(self.places.own(entry.map), 0);
            self.zero(super::memory::Place { base: Base::Value(to), offset: 0 }, ty.room() + crate::plan::FLAG);
        }
    }
}
