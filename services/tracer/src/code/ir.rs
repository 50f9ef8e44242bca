//! What programs are before they have registers: blocks of operations on values, of which there are as many as needed.
//!
//! A value may be written several times. Memory is the stack frame, addressed from its end, or what a value points to.

use super::instruction::{Alu, Compare, Width};
use crate::source::Span;

/// A number of 64 bits that lives in a register, or on the stack where there are not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

/// A block of operations, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// A map of the trace, by its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapId(pub u32);

/// A value, or a number that fits an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A value.
    Value(Value),
    /// A number.
    Number(i32),
}

impl From<Value> for Operand {
    fn from(value: Value) -> Self {
        Operand::Value(value)
    }
}

/// Where memory begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Behind the stack frame: offsets are negative.
    Frame,
    /// Where a value points.
    Value(Value),
}

/// What a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// A value or a number.
    Plain(Operand),
    /// An address.
    Address(Base, i16),
    /// A map.
    Map(MapId),
    /// A number that does not fit an instruction.
    Wide(i64),
    /// One of the program's functions.
    Function(usize),
}

impl<T: Into<Operand>> From<T> for Argument {
    fn from(operand: T) -> Self {
        Argument::Plain(operand.into())
    }
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A number.
    Constant {
        /// Gets it.
        to: Value,
        /// The number.
        number: i64,
    },
    /// The address of a byte in the only value of an array map.
    MapValue {
        /// Gets it.
        to: Value,
        /// The map.
        map: MapId,
        /// Bytes from the start of the value.
        offset: u32,
    },
    /// A copy.
    Copy {
        /// Gets it.
        to: Value,
        /// What is copied.
        from: Value,
    },
    /// Arithmetic.
    Alu {
        /// Which.
        operation: Alu,
        /// Gets the result.
        to: Value,
        /// The left operand.
        left: Value,
        /// The right operand.
        right: Operand,
    },
    /// The number with the other sign.
    Negate {
        /// Gets it.
        to: Value,
        /// The number.
        from: Value,
    },
    /// The bytes in the other order.
    Swap {
        /// Gets them.
        to: Value,
        /// The bytes.
        from: Value,
        /// How many bytes count.
        width: Width,
    },
    /// An address.
    Address {
        /// Gets it.
        to: Value,
        /// Where memory begins.
        base: Base,
        /// Bytes from there.
        offset: i16,
    },
    /// Reads memory.
    Load {
        /// Gets what is read.
        to: Value,
        /// Where memory begins.
        base: Base,
        /// Bytes from there.
        offset: i16,
        /// How much is read.
        width: Width,
    },
    /// Writes memory.
    Store {
        /// Where memory begins.
        base: Base,
        /// Bytes from there.
        offset: i16,
        /// How much is written.
        width: Width,
        /// What is written.
        from: Operand,
    },
    /// Adds to eight bytes of memory that several CPUs share.
    AtomicAdd {
        /// Where memory begins.
        base: Base,
        /// Bytes from there.
        offset: i16,
        /// What is added.
        from: Value,
        /// Gets the number from before.
        before: Option<Value>,
    },
    /// Calls one of the kernel's helpers.
    Call {
        /// Gets the result.
        to: Option<Value>,
        /// The helper's number.
        helper: i32,
        /// At most five.
        arguments: Vec<Argument>,
    },
}

/// How a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In another block.
    Jump(BlockId),
    /// In one of two.
    Branch {
        /// When the first is taken.
        compare: Compare,
        /// The left operand.
        left: Value,
        /// The right operand.
        right: Operand,
        /// When it holds.
        then: BlockId,
        /// When it does not.
        otherwise: BlockId,
    },
    /// The function returns a number.
    Return(i32),
}

/// Operations in a row, each with the place in the script that asked for it.
#[derive(Debug, Clone)]
pub struct Block {
    /// In order.
    pub operations: Vec<(Operation, Span)>,
    /// How it ends, and the place that asked for it.
    pub end: (End, Span),
}

/// A function: the program itself, or one that it hands to a helper.
#[derive(Debug, Clone)]
pub struct Function {
    /// Values that hold the arguments at the start; at most five.
    pub parameters: Vec<Value>,
    /// The blocks; the first is where it starts.
    pub blocks: Vec<Block>,
    /// How many values there are.
    pub values: u32,
    /// Bytes of the frame that the operations use themselves.
    pub frame: u32,
}

/// The value that an operation writes, as the operation itself is at hand: to read or to change.
macro_rules! result {
    ($operation:expr) => {
        match $operation {
            Operation::Constant { to, .. }
            | Operation::MapValue { to, .. }
            | Operation::Copy { to, .. }
            | Operation::Alu { to, .. }
            | Operation::Negate { to, .. }
            | Operation::Swap { to, .. }
            | Operation::Address { to, .. }
            | Operation::Load { to, .. }
            | Operation::AtomicAdd { before: Some(to), .. }
            | Operation::Call { to: Some(to), .. } => Some(to),
            Operation::Store { .. } | Operation::AtomicAdd { before: None, .. } | Operation::Call { to: None, .. } => {
                None
            }
        }
    };
}

impl Operation {
    /// The value that it writes.
    pub fn written(&self) -> Option<Value> {
        result!(self).copied()
    }

    /// Has it write another value.
    pub(super) fn write_to(&mut self, value: Value) {
        if let Some(to) = result!(self) {
            *to = value;
        }
    }

    /// Whether it may be left out when nobody reads what it writes.
    pub fn is_pure(&self) -> bool {
        !matches!(self, Operation::Store { .. } | Operation::AtomicAdd { .. } | Operation::Call { .. })
    }

    /// The values that it reads. `late` are those still needed when the result is already written.
    pub fn read(&self, mut see: impl FnMut(Value, Late)) {
        let base = |base: &Base, late: Late, see: &mut dyn FnMut(Value, Late)| {
            if let Base::Value(value) = base {
                see(*value, late);
            }
        };
        match self {
            Operation::Constant { .. } | Operation::MapValue { .. } => {}
            Operation::Copy { from, .. } | Operation::Negate { from, .. } | Operation::Swap { from, .. } => {
                see(*from, Late(false));
            }
            Operation::Alu { operation, left, right, .. } => {
                see(*left, Late(false));
                if let Operand::Value(right) = right {
                    see(*right, Late(!operation.commutes()));
                }
            }
            Operation::Address { base: from, .. } | Operation::Load { base: from, .. } => {
                base(from, Late(false), &mut see);
            }
            Operation::Store { base: into, from, .. } => {
                base(into, Late(false), &mut see);
                if let Operand::Value(from) = from {
                    see(*from, Late(false));
                }
            }
            Operation::AtomicAdd { base: into, from, .. } => {
                base(into, Late(true), &mut see);
                see(*from, Late(false));
            }
            Operation::Call { arguments, .. } => {
                for argument in arguments {
                    match argument {
                        Argument::Plain(Operand::Value(value)) | Argument::Address(Base::Value(value), _) => {
                            see(*value, Late(false));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Whether a value is still read when the result is already written, so that the two cannot share a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late(pub bool);

impl End {
    /// Where it may go on.
    pub fn next(&self) -> impl Iterator<Item = BlockId> + use<> {
        let (first, second) = match self {
            End::Jump(to) => (Some(*to), None),
            End::Branch { then, otherwise, .. } => (Some(*then), Some(*otherwise)),
            End::Return(_) => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The values that it reads.
    pub fn read(&self) -> impl Iterator<Item = Value> + use<> {
        let (left, right) = match self {
            End::Branch { left, right: Operand::Value(right), .. } => (Some(*left), Some(*right)),
            End::Branch { left, .. } => (Some(*left), None),
            End::Jump(_) | End::Return(_) => (None, None),
        };
        left.into_iter().chain(right)
    }
}
