//! Which values are needed where: what the registers are shared out by.

use super::ir::{BlockId, End, Function, Late, Operation, Value};
use crate::source::Span;

/// A set of values.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn new(values: u32) -> Self {
        Self(vec![0; values as usize / 64 + 1])
    }

    fn insert(&mut self, value: Value) {
        if let Some(word) = self.0.get_mut(value.0 as usize / 64) {
            *word |= 1 << (value.0 % 64);
        }
    }

    fn remove(&mut self, value: Value) {
        if let Some(word) = self.0.get_mut(value.0 as usize / 64) {
            *word &= !(1 << (value.0 % 64));
        }
    }

    fn contains(&self, value: Value) -> bool {
        self.0.get(value.0 as usize / 64).is_some_and(|word| word & 1 << (value.0 % 64) != 0)
    }

    fn extend(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        let words = (0_u32..).zip(&self.0);
        words
            .flat_map(|(index, word)| (0..64).filter(move |bit| word & 1 << bit != 0).map(move |bit| index * 64 + bit))
            .map(Value)
    }
}

/// From where to where a value is needed. An operation's number is `2n` when it reads and `2n + 1` when it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) value: Value,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Leaves out blocks that cannot be reached or only lead on, and operations whose result nobody reads.
pub(super) fn clean(function: &mut Function) {
    thread_jumps(function);
    remove_unreachable(function);
    merge_copies(function);
    loop {
        let live = live_out(function);
        let mut removed = false;
        for (block, mut live) in function.blocks.iter_mut().zip(live) {
            block.end.0.read().for_each(|value| live.insert(value));
            let mut kept = Vec::with_capacity(block.operations.len());
            for (mut operation, span) in std::mem::take(&mut block.operations).into_iter().rev() {
                let unread = operation.written().is_some_and(|value| !live.contains(value));
                if unread && operation.is_pure() {
                    removed = true;
                    continue;
                }
                if let (true, Operation::Call { to, .. } | Operation::AtomicAdd { before: to, .. }) =
                    (unread, &mut operation)
                {
                    *to = None;
                }
                step_back(&operation, &mut live);
                kept.push((operation, span));
            }
            kept.reverse();
            block.operations = kept;
        }
        if !removed {
            return;
        }
    }
}

/// A result that is only copied, and at once, goes where the copy went: `$x = $x + 1` needs no third register.
fn merge_copies(function: &mut Function) {
    let mut reads = vec![0_u32; function.values as usize];
    let mut count = |value: Value| {
        if let Some(count) = reads.get_mut(value.0 as usize) {
            *count += 1;
        }
    };
    for block in &function.blocks {
        block.operations.iter().for_each(|(operation, _)| operation.read(|value, _| count(value)));
        block.end.0.read().for_each(&mut count);
    }
    for block in &mut function.blocks {
        let mut merged: Vec<(Operation, Span)> = Vec::with_capacity(block.operations.len());
        for (operation, span) in std::mem::take(&mut block.operations) {
            if let (Operation::Copy { to, from }, Some((before, _))) = (&operation, merged.last_mut())
                && before.written() == Some(*from)
                && reads.get(from.0 as usize) == Some(&1)
                && !reads_late(before, *to)
            {
                before.write_to(*to);
                continue;
            }
            merged.push((operation, span));
        }
        block.operations = merged;
    }
}

/// Whether a value is still read when the operation's result is written.
fn reads_late(operation: &Operation, value: Value) -> bool {
    let mut found = false;
    operation.read(|read, Late(late)| found |= late && read == value);
    found
}

/// Blocks without operations that jump on are jumped over.
fn thread_jumps(function: &mut Function) {
    let onward: Vec<Option<BlockId>> = function
        .blocks
        .iter()
        .map(|block| match block.end.0 {
            End::Jump(to) if block.operations.is_empty() => Some(to),
            _ => None,
        })
        .collect();
    let target = |mut block: BlockId| {
        // Empty loops would lead round and round.
        for _step in 0..onward.len() {
            match onward.get(block.0 as usize) {
                Some(Some(next)) => block = *next,
                _ => break,
            }
        }
        block
    };
    for block in &mut function.blocks {
        match &mut block.end.0 {
            End::Jump(to) => *to = target(*to),
            End::Branch { then, otherwise, .. } => {
                *then = target(*then);
                *otherwise = target(*otherwise);
                if then == otherwise {
                    block.end.0 = End::Jump(*then);
                }
            }
            End::Return(_) => {}
        }
    }
}

/// Keeps the blocks that can be reached, in an order in which each comes behind one that leads to it.
fn remove_unreachable(function: &mut Function) {
    let count = function.blocks.len();
    let mut state = vec![false; count];
    let mut order = Vec::new();
    // Depth first without recursion: a block is listed once all behind it are.
    let mut stack: Vec<(usize, Vec<usize>)> = Vec::new();
    let following = |function: &Function, block: usize| -> Vec<usize> {
        function
            .blocks
            .get(block)
            .map_or_else(Vec::new, |block| block.end.0.next().map(|next| next.0 as usize).collect())
    };
    if let Some(first) = state.first_mut() {
        *first = true;
        stack.push((0, following(function, 0)));
    }
    while let Some((block, next)) = stack.last_mut() {
        let Some(to) = next.pop() else {
            order.push(*block);
            stack.pop();
            continue;
        };
        if let Some(seen) = state.get_mut(to).filter(|seen| !**seen) {
            *seen = true;
            stack.push((to, following(function, to)));
        }
    }
    order.reverse();
    let mut renamed = vec![BlockId(0); count];
    for (new, old) in (0..).zip(&order) {
        if let Some(slot) = renamed.get_mut(*old) {
            *slot = BlockId(new);
        }
    }
    let rename = |block: &mut BlockId| *block = renamed.get(block.0 as usize).copied().unwrap_or(*block);
    let mut old: Vec<Option<_>> = std::mem::take(&mut function.blocks).into_iter().map(Some).collect();
    function.blocks = order.iter().filter_map(|index| old.get_mut(*index).and_then(Option::take)).collect();
    for block in &mut function.blocks {
        match &mut block.end.0 {
            End::Jump(to) => rename(to),
            End::Branch { then, otherwise, .. } => {
                rename(then);
                rename(otherwise);
            }
            End::Return(_) => {}
        }
    }
}

fn step_back(operation: &Operation, live: &mut Set) {
    if let Some(value) = operation.written() {
        live.remove(value);
    }
    operation.read(|value, _| live.insert(value));
}

/// The values that are needed behind each block.
fn live_out(function: &Function) -> Vec<Set> {
    let count = function.blocks.len();
    let empty = Set::new(function.values);
    let (mut live_in, mut live_out) = (vec![empty.clone(); count], vec![empty; count]);
    let mut changed = true;
    while changed {
        changed = false;
        for (index, block) in function.blocks.iter().enumerate().rev() {
            let mut live = Set::new(function.values);
            for next in block.end.0.next() {
                if let Some(needed) = live_in.get(next.0 as usize) {
                    live.extend(needed);
                }
            }
            if let Some(slot) = live_out.get_mut(index) {
                slot.clone_from(&live);
            }
            block.end.0.read().for_each(|value| live.insert(value));
            block.operations.iter().rev().for_each(|(operation, _)| step_back(operation, &mut live));
            if let Some(slot) = live_in.get_mut(index)
                && *slot != live
            {
                *slot = live;
                changed = true;
            }
        }
    }
    live_out
}

/// Where each value is needed, by where that begins; and the numbers of the operations that are calls.
pub(super) fn intervals(function: &Function) -> (Vec<Interval>, Vec<u32>) {
    let live_out = live_out(function);
    let mut all: Vec<Option<Interval>> = vec![None; function.values as usize];
    let mut calls = Vec::new();
    let mut see = |value: Value, at: u32| {
        if let Some(slot) = all.get_mut(value.0 as usize) {
            let known = slot.get_or_insert(Interval { value, start: at, end: at });
            known.start = known.start.min(at);
            known.end = known.end.max(at);
        }
    };
    let mut at = 0;
    function.parameters.iter().for_each(|parameter| see(*parameter, at));
    for (block, live_out) in function.blocks.iter().zip(&live_out) {
        let start = at;
        for (operation, _) in &block.operations {
            at += 2;
            if matches!(operation, Operation::Call { .. }) {
                calls.push(at);
            }
            operation.read(|value, Late(late)| see(value, at + u32::from(late)));
            if let Some(value) = operation.written() {
                see(value, at + 1);
            }
        }
        at += 2;
        block.end.0.read().for_each(|value| see(value, at));
        live_out.iter().for_each(|value| see(value, at + 1));
        // What is needed at the start was written before.
        let mut live = live_out.clone();
        block.end.0.read().for_each(|value| live.insert(value));
        block.operations.iter().rev().for_each(|(operation, _)| step_back(operation, &mut live));
        live.iter().for_each(|value| see(value, start));
    }
    let mut all: Vec<Interval> = all.into_iter().flatten().collect();
    all.sort_by_key(|interval| (interval.start, interval.end));
    (all, calls)
}
