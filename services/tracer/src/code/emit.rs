//! Writes instructions: every operation with the registers that its values live in.

use super::allocate::{Home, Homes, SCRATCH, allocate};
use super::instruction::{Alu, Compare, FRAME, FUNCTION, Instruction, MAP, MAP_VALUE, R0, Register, Width};
use super::ir::{Argument, Base, Block, End, Function, Operand, Operation, Value};
use super::live::clean;
use super::moves::{Move, Source, in_order};
use super::{CodeError, FRAME_MAX, Relocation};
use crate::source::Span;

/// One function's instructions.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) instructions: Vec<Instruction>,
    /// The place in the script that asked for each.
    pub(super) spans: Vec<Span>,
    /// Instructions that need what is known at loading only.
    pub(super) relocations: Vec<(usize, Relocation)>,
}

/// Writes a function.
pub(super) fn emit(mut function: Function) -> Result<Emitted, CodeError> {
    clean(&mut function);
    let homes = allocate(&function);
    if homes.frame > FRAME_MAX {
        return Err(CodeError::Frame(homes.frame));
    }
    let emitted = Emitted { instructions: Vec::new(), spans: Vec::new(), relocations: Vec::new() };
    let mut writer = Writer { homes, emitted, span: Span::new(0, 0), starts: Vec::new(), jumps: Vec::new() };
    writer.parameters(&function);
    for (index, block) in function.blocks.iter().enumerate() {
        writer.block(index, block);
    }
    writer.link()
}

struct Writer {
    homes: Homes,
    emitted: Emitted,
    span: Span,
    /// Where each block begins.
    starts: Vec<usize>,
    /// Jumps, and the blocks that they go to.
    jumps: Vec<(usize, usize)>,
}

impl Writer {
    fn push(&mut self, instruction: Instruction) {
        self.emitted.instructions.push(instruction);
        self.emitted.spans.push(self.span);
    }

    fn wide(&mut self, to: Register, mark: Register, number: i64) {
        for half in Instruction::wide(to, mark, number) {
            self.push(half);
        }
    }

    fn relocate(&mut self, relocation: Relocation) {
        self.emitted.relocations.push((self.emitted.instructions.len(), relocation));
    }

    fn parameters(&mut self, function: &Function) {
        let mut moves = Vec::new();
        for (parameter, number) in function.parameters.iter().zip(1..) {
            let from = Register(number);
            match self.homes.of(*parameter) {
                Some(Home::Register(to)) => moves.push(Move { to, from: Source::Register(from) }),
                Some(Home::Stack(offset)) => self.push(Instruction::store(Width::Eight, FRAME, offset, from)),
                None => {}
            }
        }
        for step in in_order(moves) {
            self.step(step);
        }
    }

    fn block(&mut self, index: usize, block: &Block) {
        self.starts.push(self.emitted.instructions.len());
        for (operation, span) in &block.operations {
            self.span = *span;
            self.operation(operation);
        }
        let (end, span) = block.end;
        self.span = span;
        self.end(end, index + 1);
    }

    /// The register in which a value is, or to which it was brought.
    fn read(&mut self, value: Value, scratch: Register) -> Register {
        match self.homes.of(value) {
            Some(Home::Register(register)) => register,
            Some(Home::Stack(offset)) => {
                self.push(Instruction::load(Width::Eight, scratch, FRAME, offset));
                scratch
            }
            // Nobody wrote it: any number will do, and the verifier wants one.
            None => {
                self.push(Instruction::number(scratch, 0));
                scratch
            }
        }
    }

    fn base(&mut self, base: Base, scratch: Register) -> Register {
        match base {
            Base::Frame => FRAME,
            Base::Value(value) => self.read(value, scratch),
        }
    }

    /// Has a value written in its register, or in a scratch register and from there to the stack.
    fn write(&mut self, to: Value, scratch: Register, write: impl FnOnce(&mut Self, Register)) {
        match self.homes.of(to) {
            Some(Home::Register(register)) => write(self, register),
            Some(Home::Stack(offset)) => {
                write(self, scratch);
                self.push(Instruction::store(Width::Eight, FRAME, offset, scratch));
            }
            None => {}
        }
    }

    fn copy(&mut self, to: Register, from: Register) {
        if to != from {
            self.push(Instruction::copy(to, from));
        }
    }

    fn operation(&mut self, operation: &Operation) {
        let [first, second] = SCRATCH;
        match *operation {
            Operation::Constant { to, number } => self.write(to, first, |writer, to| writer.constant(to, number)),
            Operation::MapValue { to, map, offset } => self.write(to, first, |writer, to| {
                writer.relocate(Relocation::Map(map));
                writer.wide(to, MAP_VALUE, i64::from(offset) << 32);
            }),
            Operation::Copy { to, from } => match (self.homes.of(to), self.homes.of(from)) {
                (Some(Home::Stack(offset)), Some(Home::Register(from))) => {
                    self.push(Instruction::store(Width::Eight, FRAME, offset, from));
                }
                (Some(Home::Register(to)), Some(Home::Stack(offset))) => {
                    self.push(Instruction::load(Width::Eight, to, FRAME, offset));
                }
                _ => {
                    let from = self.read(from, first);
                    self.write(to, first, |writer, to| writer.copy(to, from));
                }
            },
            Operation::Alu { operation, to, left, right } => self.alu(operation, to, left, right),
            Operation::Negate { to, from } => {
                let from = self.read(from, first);
                self.write(to, first, |writer, to| {
                    writer.copy(to, from);
                    writer.push(Instruction::negate(to));
                });
            }
            Operation::Swap { to, from, width } => {
                let from = self.read(from, first);
                let bits = (width.bytes() * 8).cast_signed();
                self.write(to, first, |writer, to| {
                    writer.copy(to, from);
                    writer.push(Instruction::swap(to, bits));
                });
            }
            Operation::Address { to, base, offset } => {
                let base = self.base(base, first);
                self.write(to, first, |writer, to| writer.address(to, base, offset));
            }
            Operation::Load { to, base, offset, width } => {
                let base = self.base(base, first);
                self.write(to, first, |writer, to| writer.push(Instruction::load(width, to, base, offset)));
            }
            Operation::Store { base, offset, width, from } => {
                let base = self.base(base, first);
                match from {
                    Operand::Number(number) => self.push(Instruction::store_number(width, base, offset, number)),
                    Operand::Value(value) => {
                        let from = self.read(value, second);
                        self.push(Instruction::store(width, base, offset, from));
                    }
                }
            }
            Operation::AtomicAdd { base, offset, from, before } => self.atomic_add(base, offset, from, before),
            Operation::Call { to, helper, ref arguments } => {
                self.arguments(arguments);
                self.push(Instruction::call(helper));
                if let Some(to) = to {
                    match self.homes.of(to) {
                        Some(Home::Register(to)) => self.copy(to, R0),
                        Some(Home::Stack(offset)) => self.push(Instruction::store(Width::Eight, FRAME, offset, R0)),
                        None => {}
                    }
                }
            }
        }
    }

    fn constant(&mut self, to: Register, number: i64) {
        match i32::try_from(number) {
            Ok(number) => self.push(Instruction::number(to, number)),
            Err(_too_large) => self.wide(to, R0, number),
        }
    }

    fn address(&mut self, to: Register, base: Register, offset: i16) {
        self.copy(to, base);
        if offset != 0 {
            self.push(Instruction::alu_number(Alu::Add, to, offset.into()));
        }
    }

    fn alu(&mut self, operation: Alu, to: Value, left: Value, right: Operand) {
        let [first, second] = SCRATCH;
        let left = self.read(left, first);
        let right = match right {
            Operand::Number(number) => {
                return self.write(to, first, |writer, to| {
                    writer.copy(to, left);
                    writer.push(Instruction::alu_number(operation, to, number));
                });
            }
            Operand::Value(value) => self.read(value, second),
        };
        self.write(to, first, |writer, to| {
            if to == right && to != left {
                // Only where the operands may change places do the two share a register.
                writer.push(Instruction::alu(operation, to, left));
            } else {
                writer.copy(to, left);
                writer.push(Instruction::alu(operation, to, right));
            }
        });
    }

    fn atomic_add(&mut self, base: Base, offset: i16, from: Value, before: Option<Value>) {
        let [first, second] = SCRATCH;
        let base = self.base(base, first);
        let from = self.read(from, second);
        match before {
            None => self.push(Instruction::atomic_add(base, offset, from, false)),
            Some(before) => self.write(before, second, |writer, to| {
                writer.copy(to, from);
                writer.push(Instruction::atomic_add(base, offset, to, true));
            }),
        }
    }

    fn arguments(&mut self, arguments: &[Argument]) {
        let mut moves = Vec::new();
        for (argument, number) in arguments.iter().zip(1..) {
            let from = match *argument {
                Argument::Plain(Operand::Number(number)) => Source::Number(number.into()),
                Argument::Wide(number) => Source::Number(number),
                Argument::Map(map) => Source::Map(map),
                Argument::Function(function) => Source::Function(function),
                Argument::Plain(Operand::Value(value)) => self.source(value, 0),
                Argument::Address(Base::Frame, offset) => Source::Address(FRAME, offset),
                Argument::Address(Base::Value(value), offset) => self.source(value, offset),
            };
            moves.push(Move { to: Register(number), from });
        }
        for step in in_order(moves) {
            self.step(step);
        }
    }

    fn source(&self, value: Value, offset: i16) -> Source {
        match self.homes.of(value) {
            Some(Home::Register(register)) if offset == 0 => Source::Register(register),
            Some(Home::Register(register)) => Source::Address(register, offset),
            Some(Home::Stack(place)) => Source::Stack(place, offset),
            None => Source::Number(0),
        }
    }

    fn step(&mut self, Move { to, from }: Move) {
        match from {
            Source::Register(from) => self.copy(to, from),
            Source::Address(base, offset) => self.address(to, base, offset),
            Source::Stack(place, offset) => {
                self.push(Instruction::load(Width::Eight, to, FRAME, place));
                self.address(to, to, offset);
            }
            Source::Number(number) => self.constant(to, number),
            Source::Map(map) => {
                self.relocate(Relocation::Map(map));
                self.wide(to, MAP, 0);
            }
            Source::Function(function) => {
                self.relocate(Relocation::Function(function));
                self.wide(to, FUNCTION, 0);
            }
        }
    }

    /// `next` is the block that follows.
    fn end(&mut self, end: End, next: usize) {
        let [first, second] = SCRATCH;
        match end {
            End::Jump(to) => self.jump(to.0 as usize, next),
            End::Branch { compare, left, right, then, otherwise } => {
                let (then, otherwise) = (then.0 as usize, otherwise.0 as usize);
                let (compare, taken, fallen) =
                    if then == next { (compare.inverse(), otherwise, then) } else { (compare, then, otherwise) };
                let left = self.read(left, first);
                let right = match right {
                    Operand::Value(value) => Right::Register(self.read(value, second)),
                    Operand::Number(number) => Right::Number(number),
                };
                self.jumps.push((self.emitted.instructions.len(), taken));
                self.push(branch(compare, left, right));
                self.jump(fallen, next);
            }
            End::Return(number) => {
                self.push(Instruction::number(R0, number));
                self.push(Instruction::exit());
            }
        }
    }

    fn jump(&mut self, to: usize, next: usize) {
        if to != next {
            self.jumps.push((self.emitted.instructions.len(), to));
            self.push(Instruction::jump(0));
        }
    }

    /// Fills in how far the jumps go.
    fn link(mut self) -> Result<Emitted, CodeError> {
        for (at, block) in self.jumps {
            let to = self.starts.get(block).copied().unwrap_or_default();
            let distance = i64::try_from(to).unwrap_or(i64::MAX) - i64::try_from(at).unwrap_or(0) - 1;
            let offset = i16::try_from(distance).map_err(|_too_far| CodeError::Jump(distance))?;
            if let Some(jump) = self.emitted.instructions.get_mut(at) {
                jump.offset = offset;
            }
        }
        Ok(self.emitted)
    }
}

#[derive(Clone, Copy)]
enum Right {
    Register(Register),
    Number(i32),
}

fn branch(compare: Compare, left: Register, right: Right) -> Instruction {
    match right {
        Right::Register(right) => Instruction::branch(compare, left, right, 0),
        Right::Number(right) => Instruction::branch_number(compare, left, right, 0),
    }
}
