//! Puts a function together, operation by operation; what is known already becomes a number on the way.

use super::instruction::{Alu, Compare, Width};
use super::ir::{Argument, Base, Block, BlockId, End, Function, MapId, Operand, Operation, Value};
use crate::source::Span;

/// A block in the making: it may have no end yet.
type Open = (Vec<(Operation, Span)>, Option<(End, Span)>);

/// A function in the making. Operations go to the end of the current block.
#[derive(Debug)]
pub struct Builder {
    blocks: Vec<Open>,
    current: usize,
    values: u32,
    parameters: Vec<Value>,
    /// The place in the script that asks for what is built now.
    span: Span,
}

impl Builder {
    /// A function that gets so many arguments.
    pub fn new(parameters: u32) -> Self {
        Self {
            blocks: vec![(Vec::new(), None)],
            current: 0,
            values: parameters,
            parameters: (0..parameters).map(Value).collect(),
            span: Span::new(0, 0),
        }
    }

    /// From here on, operations belong to this place; gives the one before.
    pub fn at(&mut self, span: Span) -> Span {
        std::mem::replace(&mut self.span, span)
    }

    /// An argument, from 0.
    pub fn parameter(&self, index: u32) -> Value {
        Value(index)
    }

    /// How many arguments the function gets.
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// A value that is not written yet.
    pub fn value(&mut self) -> Value {
        self.values += 1;
        Value(self.values - 1)
    }

    /// A block that is empty yet.
    pub fn block(&mut self) -> BlockId {
        self.blocks.push((Vec::new(), None));
        BlockId(u32::try_from(self.blocks.len() - 1).unwrap_or(u32::MAX))
    }

    /// Goes on in another block.
    pub fn switch_to(&mut self, block: BlockId) {
        self.current = block.0 as usize;
    }

    /// Adds an operation.
    pub fn push(&mut self, operation: Operation) {
        let span = self.span;
        if let Some((operations, None)) = self.blocks.get_mut(self.current) {
            operations.push((operation, span));
        }
    }

    /// Ends the current block, if it is not ended yet.
    pub fn end(&mut self, end: End) {
        let span = self.span;
        if let Some((_, slot)) = self.blocks.get_mut(self.current) {
            slot.get_or_insert((end, span));
        }
    }

    /// Ends the current block in another one.
    pub fn jump(&mut self, to: BlockId) {
        self.end(End::Jump(to));
    }

    /// Ends the current block in one of two; where the outcome is known, in that one.
    pub fn branch(&mut self, compare: Compare, left: Operand, right: Operand, then: BlockId, otherwise: BlockId) {
        let end = match (left, right) {
            (Operand::Number(left), Operand::Number(right)) => {
                End::Jump(if compare.holds(left.into(), right.into()) { then } else { otherwise })
            }
            (Operand::Value(left), right) => End::Branch { compare, left, right, then, otherwise },
            (left @ Operand::Number(_), Operand::Value(right)) => {
                End::Branch { compare: compare.mirrored(), left: right, right: left, then, otherwise }
            }
        };
        self.end(end);
    }

    /// A number as an operand.
    pub fn number(&mut self, number: i64) -> Operand {
        i32::try_from(number).map_or_else(
            |_too_large| {
                let to = self.value();
                self.push(Operation::Constant { to, number });
                Operand::Value(to)
            },
            Operand::Number,
        )
    }

    /// An operand as a value.
    pub fn in_value(&mut self, operand: Operand) -> Value {
        match operand {
            Operand::Value(value) => value,
            Operand::Number(number) => {
                let to = self.value();
                self.push(Operation::Constant { to, number: number.into() });
                to
            }
        }
    }

    /// Writes a value that may have been written before.
    pub fn assign(&mut self, to: Value, from: Operand) {
        match from {
            Operand::Value(from) => self.push(Operation::Copy { to, from }),
            Operand::Number(number) => self.push(Operation::Constant { to, number: number.into() }),
        }
    }

    /// Arithmetic; what changes nothing is left out.
    pub fn alu(&mut self, operation: Alu, left: Operand, right: Operand) -> Operand {
        let (left, right) = match (left, right) {
            (Operand::Number(_), Operand::Value(_)) if operation.commutes() => (right, left),
            _ => (left, right),
        };
        match (operation, right) {
            (
                Alu::Add
                | Alu::Subtract
                | Alu::Or
                | Alu::Xor
                | Alu::ShiftLeft
                | Alu::ShiftRight
                | Alu::ShiftRightSigned,
                Operand::Number(0),
            )
            | (Alu::Multiply | Alu::Divide, Operand::Number(1)) => return left,
            _ => {}
        }
        // A power of two: shifts and masks take one cycle, multiplication three and division dozens.
        let (operation, right) = match (operation, right) {
            (Alu::Multiply | Alu::Divide, Operand::Number(number)) if number > 0 && number & (number - 1) == 0 => {
                let shift = if operation == Alu::Multiply { Alu::ShiftLeft } else { Alu::ShiftRight };
                (shift, Operand::Number(number.trailing_zeros().cast_signed()))
            }
            (Alu::Modulo, Operand::Number(number)) if number > 0 && number & (number - 1) == 0 => {
                (Alu::And, Operand::Number(number - 1))
            }
            other => other,
        };
        let left = self.in_value(left);
        let to = self.value();
        self.push(Operation::Alu { operation, to, left, right });
        Operand::Value(to)
    }

    /// Reads memory.
    pub fn load(&mut self, base: Base, offset: i16, width: Width) -> Value {
        let to = self.value();
        self.push(Operation::Load { to, base, offset, width });
        to
    }

    /// Writes memory.
    pub fn store(&mut self, base: Base, offset: i16, width: Width, from: Operand) {
        self.push(Operation::Store { base, offset, width, from });
    }

    /// The address of a byte in the only value of an array map.
    pub fn map_value(&mut self, map: MapId, offset: u32) -> Value {
        let to = self.value();
        self.push(Operation::MapValue { to, map, offset });
        to
    }

    /// Calls a helper for its result.
    pub fn call(&mut self, helper: i32, arguments: Vec<Argument>) -> Value {
        let to = self.value();
        self.push(Operation::Call { to: Some(to), helper, arguments });
        to
    }

    /// Calls a helper for its effect.
    pub fn call_only(&mut self, helper: i32, arguments: Vec<Argument>) {
        self.push(Operation::Call { to: None, helper, arguments });
    }

    /// The function; blocks without an end return 0. `frame` is how many bytes of the frame it uses.
    pub fn finish(self, frame: u32) -> Function {
        let block =
            |(operations, end): Open| Block { operations, end: end.unwrap_or((End::Return(0), Span::new(0, 0))) };
        let blocks = self.blocks.into_iter().map(block).collect();
        Function { parameters: self.parameters, blocks, values: self.values, frame }
    }
}
