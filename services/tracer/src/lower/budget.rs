//! What a program may cost: checked by the program itself at its first instruction, because whoever looks from outside
//! comes too late for a function that is called a million times a second.

use super::Lowerer;
use crate::code::ir::{Argument, Base, BlockId, Operand, Operation, Value};
use crate::code::{Alu, Compare, Width};
use crate::helper;
use crate::plan::spent;

/// What all programs of a trace may cost on each CPU, in each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Hits.
    pub hits: u64,
    /// Time, ns.
    pub run_ns: u64,
}

/// Nanoseconds of the window that hits and time are counted in.
pub(crate) const WINDOW_NS: i32 = 1_000_000_000;

/// Where a program keeps what it needs to know in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter {
    budget: Budget,
    /// The address of what this CPU has spent.
    spent: Value,
    /// When the program began.
    began: Value,
    /// Ends a program that is not to run.
    over: BlockId,
}

impl Meter {
    pub(super) fn new(budget: Budget, spent: Value, began: Value, over: BlockId) -> Self {
        Self { budget, spent, began, over }
    }
}

impl Lowerer<'_> {
    /// Counts a hit; where there were too many, the program ends here, and so does every later one on this CPU.
    pub(super) fn enter(&mut self, meter: Meter) {
        let Meter { budget, spent: place, began, over } = meter;
        let base = Base::Value(place);
        let key = self.memory.reserve_frame(8);
        self.builder.store(key.base, key.offset, Width::Four, Operand::Number(0));
        let found =
            self.builder.call(helper::MAP_LOOKUP_ELEM, vec![Argument::Map(self.places.spent()), key.argument()]);
        self.builder.push(Operation::Copy { to: place, from: found });
        let [there, within, anew, count, run] = std::array::from_fn(|_| self.builder.block());
        self.builder.branch(Compare::NotEqual, place.into(), Operand::Number(0), there, over);
        self.builder.switch_to(there);
        let exceeded = self.builder.load(base, spent::EXCEEDED, Width::Eight);
        self.builder.branch(Compare::Equal, exceeded.into(), Operand::Number(0), within, over);
        self.builder.switch_to(within);
        let now = self.builder.call(helper::KTIME_GET_NS, Vec::new());
        self.builder.push(Operation::Copy { to: began, from: now });
        let window = self.builder.load(base, spent::WINDOW, Width::Eight);
        let age = self.builder.alu(Alu::Subtract, began.into(), window.into());
        self.builder.branch(Compare::GreaterEqual, age, Operand::Number(WINDOW_NS), anew, count);
        self.builder.switch_to(anew);
        self.builder.store(base, spent::WINDOW, Width::Eight, began.into());
        self.builder.store(base, spent::HITS, Width::Eight, Operand::Number(0));
        self.builder.store(base, spent::RUN, Width::Eight, Operand::Number(0));
        self.builder.jump(count);
        self.builder.switch_to(count);
        self.add_to(base, spent::ALL_HITS, Operand::Number(1));
        let hits = self.add_to(base, spent::HITS, Operand::Number(1));
        self.exceed(base, began.into(), (hits, budget.hits), spent::BY_HITS, (run, over));
        self.builder.switch_to(run);
    }

    /// Counts the time that the program took.
    pub(super) fn leave(&mut self, meter: Meter) {
        let Meter { budget, spent: place, began, over } = meter;
        let base = Base::Value(place);
        let now = self.builder.call(helper::KTIME_GET_NS, Vec::new());
        let took = self.builder.alu(Alu::Subtract, now.into(), began.into());
        self.add_to(base, spent::ALL_RUN, took);
        let run = self.add_to(base, spent::RUN, took);
        self.exceed(base, now.into(), (run, budget.run_ns), spent::BY_RUN, (over, over));
        self.builder.switch_to(over);
    }

    /// Notes that more was spent than is allowed, and when.
    fn exceed(
        &mut self,
        base: Base,
        now: Operand,
        (found, allowed): (Operand, u64),
        by: i32,
        (within, over): (BlockId, BlockId),
    ) {
        let beyond = self.builder.block();
        let allowed = self.builder.number(i64::try_from(allowed).unwrap_or(i64::MAX));
        self.builder.branch(Compare::Greater, found, allowed, beyond, within);
        self.builder.switch_to(beyond);
        self.builder.store(base, spent::AT, Width::Eight, now);
        self.builder.store(base, spent::EXCEEDED, Width::Eight, Operand::Number(by));
        self.builder.jump(over);
    }

    fn add_to(&mut self, base: Base, offset: i16, more: Operand) -> Operand {
        let before = self.builder.load(base, offset, Width::Eight);
        let sum = self.builder.alu(Alu::Add, before.into(), more);
        self.builder.store(base, offset, Width::Eight, sum);
        sum
    }
}
