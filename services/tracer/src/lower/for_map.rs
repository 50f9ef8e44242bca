//! Loops over maps: the body is a function that the kernel calls for every entry.
//!
//! It shares the probe's variables, which therefore live in the probe's frame: the function gets the frame's address.

use super::memory::{Memory, Place};
use super::{Home, Lowerer};
use crate::code::ir::{Argument, Base, End, Operand, Value};
use crate::code::{Builder, Compare, Width};
use crate::helper;
use crate::typed::{Held, Statement, StatementKind};
use crate::types::Type;

/// What functions of a probe need of it, in the probe's frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    context: i16,
    arena: i16,
    /// Whether the probe is to end when the loop does.
    leave: i16,
}

impl Shared {
    /// Keeps the probe's context for them.
    pub(super) fn new(memory: &mut Memory, builder: &mut Builder, context: Value) -> Self {
        let mut word = || memory.reserve_frame(8).offset;
        let shared = Self { context: word(), arena: word(), leave: word() };
        builder.store(Base::Frame, shared.context, Width::Eight, context.into());
        shared
    }

    /// Keeps the probe's part of the arena for them.
    pub(super) fn keep_arena(self, builder: &mut Builder, arena: Value) {
        builder.store(Base::Frame, self.arena, Width::Eight, arena.into());
    }
}

/// Whether there is a loop over a map among these.
pub(super) fn needed(statements: &[Statement]) -> bool {
    statements.iter().any(|statement| match &statement.kind {
        StatementKind::ForMap { .. } => true,
        StatementKind::If(_, then, otherwise) => needed(then) || needed(otherwise),
        StatementKind::While(_, body) | StatementKind::ForRange { body, .. } => needed(body),
        _ => false,
    })
}

impl Lowerer<'_> {
    pub(super) fn for_map(&mut self, variable: usize, map: usize, body: &[Statement]) {
        let Some(shared) = self.shared else { return };
        self.functions.push(None);
        let number = self.functions.len() - 1;
        let frame = self.frame();
        self.builder.store(frame, shared.leave, Width::Eight, Operand::Number(0));
        let function = self.called(shared, variable, map, body);
        if let Some(slot) = self.functions.get_mut(number) {
            *slot = Some(function);
        }
        let arguments = vec![
            Argument::Map(self.places.own(map)),
            Argument::Function(number),
            Argument::Address(frame, 0),
            Operand::Number(0).into(),
        ];
        self.builder.call_only(helper::FOR_EACH_MAP_ELEM, arguments);
        let leave = self.builder.load(frame, shared.leave, Width::Eight);
        let after = self.builder.block();
        self.builder.branch(Compare::NotEqual, leave.into(), Operand::Number(0), self.exit, after);
        self.builder.switch_to(after);
    }

    /// How many entries a map has: the kernel tells how many it called a function for.
    pub(super) fn map_length(&mut self, map: usize) -> Operand {
        let mut nothing = Builder::new(4);
        nothing.end(End::Return(0));
        self.functions.push(Some(nothing.finish(0)));
        let arguments = vec![
            Argument::Map(self.places.own(map)),
            Argument::Function(self.functions.len() - 1),
            Operand::Number(0).into(),
            Operand::Number(0).into(),
        ];
        self.builder.call(helper::FOR_EACH_MAP_ELEM, arguments).into()
    }

    /// The probe's frame, as the current function knows it.
    fn frame(&self) -> Base {
        // The probe itself has one argument; what the kernel calls for an entry has it as its fourth.
        if self.builder.parameters() > 1 { Base::Value(self.builder.parameter(3)) } else { Base::Frame }
    }

    /// The body as a function of the map, a key, a value and the probe's frame. It gives 1 to end the loop, else 0.
    fn called(&mut self, shared: Shared, variable: usize, map: usize, body: &[Statement]) -> crate::code::ir::Function {
        let mut builder = Builder::new(4);
        let (key, value, frame) = (builder.parameter(1), builder.parameter(2), builder.parameter(3));
        let context = builder.load(Base::Value(frame), shared.context, Width::Eight);
        let arena = builder.load(Base::Value(frame), shared.arena, Width::Eight);
        let outer_arena = self.arena;
        let outer_frame = self.frame();
        let moved = |place: Place| match place.base {
            base if base == outer_frame => Place { base: Base::Value(frame), offset: place.offset },
            base if base == Base::Value(outer_arena) => Place { base: Base::Value(arena), offset: place.offset },
            _ => place,
        };
        let variables = self.variables.iter().map(|home| match *home {
            Home::Cell(place) => Home::Cell(moved(place)),
            Home::Memory(place) => Home::Memory(moved(place)),
            number @ Home::Number(_) => number,
        });
        let variables: Vec<Home> = variables.collect();
        let (leave, over, next) = (builder.block(), builder.block(), builder.block());
        let memory = self.memory.called();
        let outer = (
            std::mem::replace(&mut self.builder, builder),
            std::mem::replace(&mut self.memory, memory),
            std::mem::replace(&mut self.variables, variables),
            std::mem::replace(&mut self.loops, vec![(next, over)]),
        );
        let (outer_context, outer_exit) = (self.context, self.exit);
        (self.context, self.arena, self.exit) = (context, arena, leave);
        self.take_entry(variable, map, key, value);
        self.statements(body);
        self.builder.jump(next);
        self.builder.switch_to(leave);
        self.builder.store(Base::Value(frame), shared.leave, Width::Eight, Operand::Number(1));
        self.builder.jump(over);
        self.builder.switch_to(over);
        self.builder.end(End::Return(1));
        self.builder.switch_to(next);
        self.builder.end(End::Return(0));
        let (builder, memory, variables, loops) = outer;
        let own_memory = std::mem::replace(&mut self.memory, memory);
        self.memory.returned(&own_memory);
        (self.variables, self.loops) = (variables, loops);
        (self.context, self.arena, self.exit) = (outer_context, outer_arena, outer_exit);
        std::mem::replace(&mut self.builder, builder).finish(own_memory.frame_used())
    }

    /// Copies key and value into the loop's variable, where functions within this one see them too.
    fn take_entry(&mut self, variable: usize, map: usize, key: Value, value: Value) {
        let Some(Home::Memory(to)) = self.variables.get(variable).copied() else { return };
        let Some(known) = self.script.maps.get(map) else { return };
        let key_room = known.key.as_ref().map_or(0, Type::room);
        self.copy(Place { base: Base::Value(key), offset: 0 }, to, key_room);
        let behind = to.at(key_room);
        match &known.value {
            Held::Values(ty) => self.copy(Place { base: Base::Value(value), offset: 0 }, behind, ty.room()),
            Held::Gathered(_) => {
                let total = self.total_at(map, to);
                self.builder.store(behind.base, behind.offset, Width::Eight, total);
            }
        }
    }
}
