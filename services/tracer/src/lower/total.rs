//! What all CPUs gathered in an entry, put together while the probe runs.

use super::Lowerer;
use super::memory::Place;
use crate::code::ir::{Argument, Base, Operand, Value};
use crate::code::{Alu, Compare, Width};
use crate::cpus;
use crate::helper;
use crate::typed::{Entry, Held};
use crate::types::Aggregate;

impl Lowerer<'_> {
    /// The number of an entry; zero where nothing was gathered.
    pub(super) fn total(&mut self, entry: &Entry) -> Operand {
        let key = if let Some(key) = &entry.key {
            self.place(key)
        } else {
            let place = self.memory.reserve_frame(8);
            self.builder.store(place.base, place.offset, Width::Four, Operand::Number(0));
            place
        };
        self.total_at(entry.map, key)
    }

    /// The same for a key that lies somewhere.
    pub(super) fn total_at(&mut self, map: usize, key: Place) -> Operand {
        let Some(Held::Gathered(aggregate)) = self.script.maps.get(map).map(|map| &map.value) else {
            return Operand::Number(0);
        };
        let aggregate = *aggregate;
        let (sum, count, cpu) = (self.builder.value(), self.builder.value(), self.builder.value());
        for value in [sum, count, cpu] {
            self.builder.assign(value, Operand::Number(0));
        }
        let (head, look, add, next, done) = (
            self.builder.block(),
            self.builder.block(),
            self.builder.block(),
            self.builder.block(),
            self.builder.block(),
        );
        self.builder.jump(head);
        self.builder.switch_to(head);
        let cpus = Operand::Number(i32::try_from(cpus::possible()).unwrap_or(i32::MAX));
        self.builder.branch(Compare::Less, cpu.into(), cpus, look, done);
        self.builder.switch_to(look);
        let arguments = vec![Argument::Map(self.places.own(map)), key.argument(), cpu.into()];
        let found = self.builder.call(helper::MAP_LOOKUP_PERCPU_ELEM, arguments);
        self.builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), add, done);
        self.builder.switch_to(add);
        self.add_part(aggregate, found, sum, count);
        self.builder.jump(next);
        self.builder.switch_to(next);
        let more = self.builder.alu(Alu::Add, cpu.into(), Operand::Number(1));
        self.builder.assign(cpu, more);
        self.builder.jump(head);
        self.builder.switch_to(done);
        match aggregate {
            // Divided by zero, the machine gives zero.
            Aggregate::Average { signed: true } => self.divide_signed(true, sum.into(), count.into()),
            Aggregate::Average { signed: false } => self.builder.alu(Alu::Divide, sum.into(), count.into()),
            _ => sum.into(),
        }
    }

    /// Adds what one CPU gathered.
    fn add_part(&mut self, aggregate: Aggregate, found: Value, sum: Value, count: Value) {
        let base = Base::Value(found);
        let part = self.builder.load(base, 0, Width::Eight);
        match aggregate {
            Aggregate::Min { signed } => {
                let beats = if signed { Compare::LessSigned } else { Compare::Less };
                self.keep_part(base, part, (sum, count), beats);
            }
            Aggregate::Max { signed } => {
                let beats = if signed { Compare::GreaterSigned } else { Compare::Greater };
                self.keep_part(base, part, (sum, count), beats);
            }
            _ => {
                let more = self.builder.alu(Alu::Add, sum.into(), part.into());
                self.builder.assign(sum, more);
                if matches!(aggregate, Aggregate::Average { .. }) {
                    let times = self.builder.load(base, 8, Width::Eight);
                    let more = self.builder.alu(Alu::Add, count.into(), times.into());
                    self.builder.assign(count, more);
                }
            }
        }
    }

    /// Keeps a CPU's number if it has one, and it is the first or beats the one before.
    fn keep_part(&mut self, base: Base, part: Value, (best, any): (Value, Value), beats: Compare) {
        let (has, second, take, done) =
            (self.builder.block(), self.builder.block(), self.builder.block(), self.builder.block());
        let set = self.builder.load(base, 8, Width::Eight);
        self.builder.branch(Compare::NotEqual, set.into(), Operand::Number(0), has, done);
        self.builder.switch_to(has);
        self.builder.branch(Compare::Equal, any.into(), Operand::Number(0), take, second);
        self.builder.switch_to(second);
        self.builder.branch(beats, part.into(), best.into(), take, done);
        self.builder.switch_to(take);
        self.builder.assign(best, part.into());
        self.builder.assign(any, Operand::Number(1));
        self.builder.jump(done);
        self.builder.switch_to(done);
    }
}
