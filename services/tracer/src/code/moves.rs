//! Several registers are written at once, some from each other: in which order that goes well.

use super::instruction::{FRAME, R0, Register};
use super::ir::MapId;

/// What a register gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Register(Register),
    /// What a register holds, and so many bytes more.
    Address(Register, i16),
    /// What lies in the frame at the first offset, and so many bytes more.
    Stack(i16, i16),
    Number(i64),
    Map(MapId),
    Function(usize),
}

/// One register's new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) to: Register,
    pub(super) from: Source,
}

impl Move {
    fn reads(&self, register: Register) -> bool {
        match self.from {
            Source::Register(from) | Source::Address(from, _) => from == register && register != FRAME,
            _ => false,
        }
    }
}

/// The moves, so that none overwrites what a later one reads. Where they go round in a circle, r0 takes part: no move
/// writes it, so all that read it are done by then.
pub(super) fn in_order(moves: Vec<Move>) -> Vec<Move> {
    let mut left = moves;
    left.retain(|step| step.from != Source::Register(step.to));
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let free = |step: &Move, index: usize| {
            left.iter().enumerate().all(|(other, reader)| other == index || !reader.reads(step.to))
        };
        if let Some(index) = left.iter().enumerate().position(|(index, step)| free(step, index)) {
            ordered.push(left.remove(index));
            continue;
        }
        // Every register that is left to write is read by another move: a circle. Its first register moves to r0.
        let Some(first) = left.first().map(|step| step.to) else { break };
        ordered.push(Move { to: R0, from: Source::Register(first) });
        for step in &mut left {
            step.from = match step.from {
                Source::Register(from) if from == first => Source::Register(R0),
                Source::Address(from, offset) if from == first => Source::Address(R0, offset),
                other => other,
            };
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_register_gets_what_it_should(sources in prop::collection::vec(0_u8..10, 0..=5)) {
            let moves: Vec<Move> = (1..).zip(&sources)
                .map(|(to, from)| Move { to: Register(to), from: Source::Register(Register(*from)) })
                .collect();
            let mut registers: HashMap<Register, u8> = (0..10).map(|number| (Register(number), number)).collect();
            for step in in_order(moves) {
                let Source::Register(from) = step.from else { unreachable!("only registers are moved") };
                registers.insert(step.to, registers[&from]);
            }
            for (to, from) in (1..).zip(sources) {
                prop_assert_eq!(registers[&Register(to)], from);
            }
        }
    }
}
