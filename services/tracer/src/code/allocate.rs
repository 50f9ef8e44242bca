//! Shares out the registers: a linear scan over the values in the order in which they are first needed.
//!
//! A call destroys r0 to r5, so what is needed behind one goes to r6 to r9. What finds no register lives on the stack,
//! and two registers are then kept free to work on it.

use std::collections::HashMap;

use super::instruction::Register;
use super::ir::{Argument, Function, Operand, Operation, Value};
use super::live::{Interval, intervals};

/// Registers that calls leave alone.
const SAVED: std::ops::RangeInclusive<u8> = 6..=9;
/// Registers that calls destroy.
const DESTROYED: std::ops::RangeInclusive<u8> = 0..=5;
/// What values on the stack are worked on in, when there are any.
pub(super) const SCRATCH: [Register; 2] = [Register(0), Register(5)];

/// Where a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// In a register.
    Register(Register),
    /// In eight bytes of the frame, at this offset from its end.
    Stack(i16),
}

/// Where all values live.
#[derive(Debug)]
pub(super) struct Homes {
    homes: Vec<Option<Home>>,
    /// Bytes of the frame, those of the function's own operations included.
    pub(super) frame: u32,
}

impl Homes {
    /// Where a value lives; one that is never read has no home.
    pub(super) fn of(&self, value: Value) -> Option<Home> {
        self.homes.get(value.0 as usize).copied().flatten()
    }
}

/// Finds a home for every value.
pub(super) fn allocate(function: &Function) -> Homes {
    let (intervals, calls) = intervals(function);
    let hints = hints(function);
    let all = Scan::run(function, &intervals, &calls, &hints, &[]);
    if all.frame == function.frame { all } else { Scan::run(function, &intervals, &calls, &hints, &SCRATCH) }
}

/// What a value had best share a register with.
#[derive(Debug, Clone, Copy)]
enum Hint {
    Register(Register),
    SameAs(Value),
}

/// Values that are results or arguments of calls had best be where calls have them; copies where the original is.
fn hints(function: &Function) -> HashMap<Value, Vec<Hint>> {
    let mut hints: HashMap<Value, Vec<Hint>> = HashMap::new();
    for (parameter, register) in function.parameters.iter().zip(1..) {
        hints.entry(*parameter).or_default().push(Hint::Register(Register(register)));
    }
    for (operation, _) in function.blocks.iter().flat_map(|block| &block.operations) {
        match operation {
            Operation::Call { to, arguments, .. } => {
                for (argument, register) in arguments.iter().zip(1..) {
                    if let Argument::Plain(Operand::Value(value)) = argument {
                        hints.entry(*value).or_default().push(Hint::Register(Register(register)));
                    }
                }
                if let Some(to) = to {
                    hints.entry(*to).or_default().push(Hint::Register(Register(0)));
                }
            }
            Operation::Copy { to, from: left }
            | Operation::Alu { to, left, .. }
            | Operation::Negate { to, from: left }
            | Operation::Swap { to, from: left, .. } => {
                hints.entry(*to).or_default().push(Hint::SameAs(*left));
                hints.entry(*left).or_default().push(Hint::SameAs(*to));
            }
            _ => {}
        }
    }
    hints
}

struct Scan<'a> {
    active: Vec<(Interval, Register)>,
    homes: Homes,
    calls: &'a [u32],
    hints: &'a HashMap<Value, Vec<Hint>>,
    kept_free: &'a [Register],
    /// Places on the stack, and until when each is taken.
    places: Vec<(i16, u32)>,
}

impl<'a> Scan<'a> {
    fn run(
        function: &Function,
        intervals: &[Interval],
        calls: &'a [u32],
        hints: &'a HashMap<Value, Vec<Hint>>,
        kept_free: &'a [Register],
    ) -> Homes {
        let homes = Homes { homes: vec![None; function.values as usize], frame: function.frame };
        let mut scan = Scan { active: Vec::new(), homes, calls, hints, kept_free, places: Vec::new() };
        for interval in intervals {
            scan.active.retain(|(other, _)| other.end >= interval.start);
            scan.place(*interval);
        }
        scan.homes
    }

    /// Whether a value is needed on both sides of a call.
    fn outlives_a_call(&self, interval: Interval) -> bool {
        // A call's own result is written behind it, at an odd number.
        let next = self.calls.partition_point(|call| *call < interval.start);
        self.calls.get(next).is_some_and(|call| *call < interval.end)
    }

    fn place(&mut self, interval: Interval) {
        let saved_only = self.outlives_a_call(interval);
        let usable = |register: &Register| !self.kept_free.contains(register);
        let candidates: Vec<Register> = if saved_only {
            SAVED.map(Register).collect()
        } else {
            DESTROYED.chain(SAVED).map(Register).filter(usable).collect()
        };
        let free: Vec<Register> = candidates
            .iter()
            .copied()
            .filter(|register| !self.active.iter().any(|(_, taken)| taken == register))
            .collect();
        if let Some(register) = self.hinted(interval.value, &free).or_else(|| free.first().copied()) {
            self.give(interval, Home::Register(register));
            self.active.push((interval, register));
            return;
        }
        // Whoever is needed longest goes to the stack.
        let longest = self
            .active
            .iter()
            .enumerate()
            .filter(|(_, (_, register))| candidates.contains(register))
            .max_by_key(|(_, (other, _))| other.end);
        match longest.map(|(index, (other, register))| (index, *other, *register)) {
            Some((index, other, register)) if other.end > interval.end => {
                self.active.swap_remove(index);
                self.spill(other);
                self.give(interval, Home::Register(register));
                self.active.push((interval, register));
            }
            _ => self.spill(interval),
        }
    }

    fn hinted(&self, value: Value, free: &[Register]) -> Option<Register> {
        let hints = self.hints.get(&value)?;
        let register = |hint: &Hint| match hint {
            Hint::Register(register) => Some(*register),
            Hint::SameAs(other) => match self.homes.of(*other) {
                Some(Home::Register(register)) => Some(register),
                _ => None,
            },
        };
        hints.iter().filter_map(register).find(|register| free.contains(register))
    }

    fn give(&mut self, interval: Interval, home: Home) {
        if let Some(slot) = self.homes.homes.get_mut(interval.value.0 as usize) {
            *slot = Some(home);
        }
    }

    fn spill(&mut self, interval: Interval) {
        let reusable = self.places.iter_mut().find(|(_, until)| *until < interval.start);
        let offset = if let Some((offset, until)) = reusable {
            *until = interval.end;
            *offset
        } else {
            self.homes.frame = self.homes.frame.next_multiple_of(8) + 8;
            let offset = -i16::try_from(self.homes.frame).unwrap_or(i16::MAX);
            self.places.push((offset, interval.end));
            offset
        };
        self.give(interval, Home::Stack(offset));
    }
}
