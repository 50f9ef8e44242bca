//! Values over time: each CPU keeps the last intervals in a ring of its own.

use super::Lowerer;
use super::memory::Place;
use crate::code::ir::{Argument, Base, Operand};
use crate::code::{Alu, Compare, Width};
use crate::helper;
use crate::typed::{Entry, Expression, Held};
use crate::types::{Aggregate, Each, Series};

/// Offsets within a value: what was gathered, how many values that is or when the last one came, and the number of the
/// interval since 1970; zero is none.
const GATHERED: i16 = 0;
const WEIGHT: i16 = 8;
const INTERVAL: i16 = 16;

impl Lowerer<'_> {
    pub(super) fn gather_at_time(&mut self, entry: &Entry, value: &Expression, time: &Expression) {
        let Some(Held::Gathered(Aggregate::Series(series))) = self.script.maps.get(entry.map).map(|map| &map.value)
        else {
            return;
        };
        let series = *series;
        let (number, now) = self.both(value, time);
        let length = self.builder.number(series.interval.cast_signed());
        let interval = self.builder.alu(Alu::Divide, now, length);
        let intervals = self.builder.number(series.intervals.into());
        let place = self.builder.alu(Alu::Modulo, interval, intervals);
        let key = self.bucket_key(entry, Some(place));
        let map = Argument::Map(self.places.own(entry.map));
        let found = self.builder.call(helper::MAP_LOOKUP_ELEM, vec![map, key.argument()]);
        let (hit, miss, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), hit, miss);
        self.builder.switch_to(hit);
        let (more, first) = (self.builder.block(), self.builder.block());
        let there = Place { base: Base::Value(found), offset: 0 };
        let known = self.builder.load(there.base, INTERVAL, Width::Eight);
        self.builder.branch(Compare::Equal, known.into(), interval, more, first);
        self.builder.switch_to(first);
        self.begin_interval(there, series, (number, now, interval));
        self.builder.jump(done);
        self.builder.switch_to(more);
        self.add_to_interval(there, series, number, now);
        self.builder.jump(done);
        self.builder.switch_to(miss);
        // An array has all its values from the start.
        if entry.key.is_some() {
            let new = self.memory.reserve_frame(Aggregate::Series(series).room());
            self.begin_interval(new, series, (number, now, interval));
            self.update(entry.map, key, new);
        }
        self.builder.jump(done);
        self.builder.switch_to(done);
    }

    /// The first value of an interval takes the place of the oldest one.
    fn begin_interval(&mut self, at: Place, series: Series, (number, now, interval): (Operand, Operand, Operand)) {
        let weight = if series.each == Each::Last { now } else { Operand::Number(1) };
        for (offset, word) in [(GATHERED, number), (WEIGHT, weight), (INTERVAL, interval)] {
            self.builder.store(at.base, at.offset + offset, Width::Eight, word);
        }
    }

    fn add_to_interval(&mut self, at: Place, series: Series, number: Operand, now: Operand) {
        let add = |lowerer: &mut Self, offset: i16, more: Operand| {
            let before = lowerer.builder.load(at.base, at.offset + offset, Width::Eight);
            let sum = lowerer.builder.alu(Alu::Add, before.into(), more);
            lowerer.builder.store(at.base, at.offset + offset, Width::Eight, sum);
        };
        let beats = match (series.each, series.signed) {
            (Each::Last, _) => {
                self.builder.store(at.base, at.offset + GATHERED, Width::Eight, number);
                return self.builder.store(at.base, at.offset + WEIGHT, Width::Eight, now);
            }
            (Each::Sum, _) => return add(self, GATHERED, number),
            (Each::Average, _) => {
                add(self, GATHERED, number);
                return add(self, WEIGHT, Operand::Number(1));
            }
            (Each::Min, true) => Compare::LessSigned,
            (Each::Min, false) => Compare::Less,
            (Each::Max, true) => Compare::GreaterSigned,
            (Each::Max, false) => Compare::Greater,
        };
        let before = self.builder.load(at.base, at.offset + GATHERED, Width::Eight);
        let (store, done) = (self.builder.block(), self.builder.block());
        self.builder.branch(beats, number, before.into(), store, done);
        self.builder.switch_to(store);
        self.builder.store(at.base, at.offset + GATHERED, Width::Eight, number);
        self.builder.jump(done);
        self.builder.switch_to(done);
    }
}
