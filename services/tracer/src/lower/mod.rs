//! The checked script as operations on values and memory: what each probe does when it is hit.
//!
//! Numbers are values. Everything longer lives in memory and is written straight to where it is needed: into the key of
//! a map, or into the record on its way to user space.

mod arithmetic;
mod budget;
mod for_map;
mod front;
mod gather;
mod known;
mod memory;
mod number;
mod output;
mod series;
mod statement;
mod text;
mod total;
mod truth;

use crate::code::ir::{Argument, Base, BlockId, End, Function, Operand, Operation, Value};
use crate::code::{Builder, Code, Compare, Width, assemble};
use crate::diagnostic::Diagnostic;
use crate::helper;
use crate::plan::{Places, counter};
use crate::target::Target;
use crate::typed::{Probe, Script};
use crate::types::Type;
use budget::Meter;
use known::Known;
use memory::{Memory, Place};

pub use budget::Budget;

/// A program for each probe, and how much of the arena the largest needs.
#[derive(Debug)]
pub struct Lowered {
    /// In the order of the script's probes.
    pub programs: Vec<Code>,
    /// Bytes.
    pub arena: u32,
}

/// Writes the programs of a script.
pub fn lower(script: &Script) -> Result<Lowered, Box<Diagnostic>> {
    lower_within(script, None)
}

/// The same; all of them together keep within a budget. What runs only once, at the beginning and in the end, is free.
pub fn lower_within(script: &Script, budget: Option<Budget>) -> Result<Lowered, Box<Diagnostic>> {
    let mut lowered = Lowered { programs: Vec::new(), arena: 0 };
    for (number, probe) in script.probes.iter().enumerate() {
        let budget = budget.filter(|_| !matches!(probe.target, Target::Begin | Target::End));
        let mut work = Lowerer::new(script, probe, budget);
        work.probe(probe);
        let (functions, arena) = work.finish(i32::try_from(number).unwrap_or(0));
        lowered.arena = lowered.arena.max(arena);
        let code =
            assemble(functions).map_err(|error| Box::new(Diagnostic::error("code", error.to_string(), probe.span)))?;
        lowered.programs.push(code);
    }
    Ok(lowered)
}

/// Where a variable lives.
#[derive(Debug, Clone, Copy)]
enum Home {
    /// A number, in a register.
    Number(Value),
    /// A number in memory, where functions of the probe see it too.
    Cell(Place),
    /// Something longer.
    Memory(Place),
}

struct Lowerer<'s> {
    script: &'s Script,
    places: Places,
    builder: Builder,
    memory: Memory,
    /// The probe's context.
    context: Value,
    /// Whether the verifier knows the types of what is in it.
    typed_context: bool,
    /// The start of the probe's part of the arena.
    arena: Value,
    variables: Vec<Home>,
    /// What functions of the probe need of it; only where there are any.
    shared: Option<for_map::Shared>,
    /// The probe's functions; the first is left for itself.
    functions: Vec<Option<Function>>,
    /// The block that ends the probe.
    exit: BlockId,
    /// What the probe may cost; without, that is nobody's concern.
    meter: Option<Meter>,
    /// What need not be asked again.
    known: Known,
    /// Where `continue` and `break` lead, innermost last.
    loops: Vec<(BlockId, BlockId)>,
}

impl<'s> Lowerer<'s> {
    fn new(script: &'s Script, probe: &Probe, budget: Option<Budget>) -> Self {
        let mut builder = Builder::new(1);
        let arena = builder.value();
        let (body, exit) = (builder.block(), builder.block());
        builder.switch_to(body);
        let mut memory = Memory::default();
        let context = builder.parameter(0);
        let shared = for_map::needed(&probe.body).then(|| for_map::Shared::new(&mut memory, &mut builder, context));
        let mut variables = Vec::new();
        for (number, ty) in probe.variables.iter().enumerate() {
            let in_memory = shared.is_some() || probe.addressed.contains(&number);
            variables.push(match (ty.is_number(), in_memory) {
                (true, false) => Home::Number(builder.value()),
                (true, true) => Home::Cell(memory.reserve_frame(8)),
                (false, _) => Home::Memory(memory.reserve(ty.room(), arena)),
            });
        }
        let places = Places::of(script);
        let meter = budget.map(|budget| Meter::new(budget, builder.value(), builder.value(), builder.block()));
        Self {
            script,
            places,
            builder,
            memory,
            context,
            typed_context: probe.target.is_typed(),
            arena,
            variables,
            shared,
            functions: vec![None],
            exit,
            meter,
            known: Known::default(),
            loops: Vec::new(),
        }
    }

    fn probe(&mut self, probe: &Probe) {
        // What a variable is before it gets a value must be known to the verifier on every path.
        for (home, room) in self.variables.clone().into_iter().zip(probe.variables.iter().map(Type::room)) {
            match home {
                Home::Number(value) => self.builder.assign(value, Operand::Number(0)),
                Home::Cell(place) => self.builder.store(place.base, place.offset, Width::Eight, Operand::Number(0)),
                // Functions of the probe are verified by themselves: for them, all of it may be read.
                Home::Memory(place) if self.shared.is_some() && place.base == Base::Frame => {
                    self.zero(place, room);
                }
                Home::Memory(_) => {}
            }
        }
        if let Some(predicate) = &probe.predicate {
            self.ask_thread_once(probe);
            let body = self.builder.block();
            self.filter(predicate, body);
            self.builder.switch_to(body);
        }
        self.statements(&probe.body);
        self.builder.jump(self.exit);
        self.builder.switch_to(self.exit);
        if let Some(meter) = self.meter {
            self.leave(meter);
        }
        self.builder.end(End::Return(0));
    }

    /// The program, and how much of the arena it needs.
    fn finish(mut self, number: i32) -> (Vec<Function>, u32) {
        // The first block was left for this; the body is the second.
        self.builder.switch_to(BlockId(0));
        let body = BlockId(1);
        if let Some(meter) = self.meter {
            self.enter(meter);
        }
        if self.memory.arena_used() == 0 {
            self.builder.jump(body);
        } else {
            let key = self.memory.reserve_frame(8);
            self.builder.store(key.base, key.offset, Width::Four, Operand::Number(number));
            let arguments = vec![Argument::Map(self.places.arena()), key.argument()];
            let found = self.builder.call(helper::MAP_LOOKUP_ELEM, arguments);
            self.builder.push(Operation::Copy { to: self.arena, from: found });
            if let Some(shared) = &self.shared {
                shared.keep_arena(&mut self.builder, self.arena);
            }
            self.builder.branch(Compare::NotEqual, self.arena.into(), Operand::Number(0), body, self.exit);
        }
        let (frame, arena) = (self.memory.frame_used(), self.memory.arena_used());
        let program = self.builder.finish(frame);
        let others = self.functions.into_iter().flatten();
        (std::iter::once(program).chain(others).collect(), arena)
    }

    /// Memory for a value until the statement ends.
    fn temporary(&mut self, ty: &Type) -> Place {
        self.memory.reserve(ty.room(), self.arena)
    }

    /// One more of what was lost.
    fn count(&mut self, counter: u32) {
        let counters = self.builder.map_value(self.places.counters(), counter);
        let one = self.builder.in_value(Operand::Number(1));
        let base = Base::Value(counters);
        self.builder.push(Operation::AtomicAdd { base, offset: 0, from: one, before: None });
    }

    /// Puts a value into a map, or counts that there was no room.
    fn update(&mut self, map: usize, key: Place, value: Place) {
        let map = Argument::Map(self.places.own(map));
        let arguments = vec![map, key.argument(), value.argument(), Operand::Number(0).into()];
        let failed = self.builder.call(helper::MAP_UPDATE_ELEM, arguments);
        let (full, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(Compare::Equal, failed.into(), Operand::Number(0), done, full);
        self.builder.switch_to(full);
        self.count(counter::FULL);
        self.builder.jump(done);
        self.builder.switch_to(done);
    }
}
