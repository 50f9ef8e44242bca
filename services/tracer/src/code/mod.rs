//! From operations on values to the kernel's instructions.
//!
//! [`Builder`] puts a function together ([`ir`]); [`assemble`] leaves out what nobody needs, gives every value a register
//! or a place on the stack, and writes [`Instruction`]s. What is known at loading only is listed as [`Relocation`]s.

mod allocate;
mod build;
mod emit;
mod instruction;
pub mod ir;
mod live;
mod moves;

pub use build::Builder;
pub use instruction::{Alu, Compare, Instruction, Register, Width};

use crate::source::Span;
use ir::{Function, MapId};

/// Bytes of stack that a program may have (`MAX_BPF_STACK`).
pub const FRAME_MAX: u32 = 512;

/// Why there are no instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// More stack than a program may have.
    #[error("the probe needs {0} bytes of stack, and programs have {FRAME_MAX}")]
    Frame(u32),
    /// A jump is farther than an instruction can say.
    #[error("the probe is too long: a jump goes over {0} instructions")]
    Jump(i64),
}

/// What an instruction needs at loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relocation {
    /// The file descriptor of a map.
    Map(MapId),
    /// The distance to a function of the program.
    Function(usize),
}

/// A program as the kernel gets it, but for its maps' file descriptors.
#[derive(Debug, Clone)]
pub struct Code {
    /// All functions, the program itself first.
    pub instructions: Vec<Instruction>,
    /// For each instruction the place in the script that asked for it.
    pub spans: Vec<Span>,
    /// Instructions that need the file descriptor of a map.
    pub maps: Vec<(usize, MapId)>,
    /// Where the functions begin.
    pub functions: Vec<usize>,
}

/// Writes a program: the function that the kernel calls, and those of the others that it hands to helpers.
pub fn assemble(functions: Vec<Function>) -> Result<Code, CodeError> {
    let mut code = Code { instructions: Vec::new(), spans: Vec::new(), maps: Vec::new(), functions: Vec::new() };
    let mut left: Vec<Option<Function>> = functions.into_iter().map(Some).collect();
    let mut starts = vec![0; left.len()];
    let mut calls = Vec::new();
    // The verifier refuses functions that nobody calls, so each is written when the first call of it was.
    let mut wanted = vec![0];
    while let Some(number) = wanted.pop() {
        let Some(function) = left.get_mut(number).and_then(Option::take) else { continue };
        let start = code.instructions.len();
        let emitted = emit::emit(function)?;
        code.functions.push(start);
        if let Some(slot) = starts.get_mut(number) {
            *slot = start;
        }
        code.instructions.extend(emitted.instructions);
        code.spans.extend(emitted.spans);
        for (at, relocation) in emitted.relocations {
            match relocation {
                Relocation::Map(map) => code.maps.push((start + at, map)),
                Relocation::Function(called) => {
                    calls.push((start + at, called));
                    wanted.push(called);
                }
            }
        }
    }
    for (at, function) in calls {
        let to = starts.get(function).copied().unwrap_or_default();
        let distance = i64::try_from(to).unwrap_or(i64::MAX) - i64::try_from(at).unwrap_or(0) - 1;
        let number = i32::try_from(distance).map_err(|_too_far| CodeError::Jump(distance))?;
        if let Some(load) = code.instructions.get_mut(at) {
            load.immediate = number;
        }
    }
    Ok(code)
}

impl Code {
    /// The instructions as text, one a line, as the verifier's log shows them.
    pub fn listing(&self) -> String {
        let mut lines = Vec::new();
        let mut second_half = false;
        for (index, instruction) in self.instructions.iter().enumerate() {
            if second_half {
                second_half = false;
                continue;
            }
            second_half = instruction.is_wide();
            let line = match self.maps.iter().find(|(at, _)| *at == index) {
                Some((_, map)) => instruction.to_string().replace("map[0]", &format!("map[{}]", map.0)),
                None if second_half && instruction.from == Register(0) => self.wide_constant(index),
                None => instruction.to_string(),
            };
            lines.push(format!("{index}: {line}\n"));
        }
        lines.concat()
    }

    fn wide_constant(&self, index: usize) -> String {
        let part = |index: usize| self.instructions.get(index).map_or(0, |half| half.immediate.cast_unsigned());
        let to = self.instructions.get(index).map_or(Register(0), |first| first.to);
        format!("{to} = {:#x} ll", u64::from(part(index + 1)) << 32 | u64::from(part(index)))
    }
}
