//! What maps gather: each CPU adds to values of its own, so nothing is locked.

use super::Lowerer;
use super::memory::Place;
use crate::code::ir::{Argument, Base, Operand};
use crate::code::{Alu, Compare, Width};
use crate::helper;
use crate::typed::{Entry, Expression, Held};
use crate::types::Aggregate;

impl Lowerer<'_> {
    pub(super) fn gather(&mut self, entry: &Entry, value: Option<&Expression>) {
        let Some(Held::Gathered(aggregate)) = self.script.maps.get(entry.map).map(|map| &map.value) else { return };
        let aggregate = *aggregate;
        let number = value.map_or(Operand::Number(1), |value| self.number(value));
        if aggregate.is_parted() {
            let bucket = match aggregate {
                Aggregate::Linear { min, max, step } => self.linear(number, min, max, step),
                Aggregate::Log2 { bits } => self.log2(number, bits.into()),
                _ => number,
            };
            self.gather_at(entry, Some(bucket), Aggregate::Count, Operand::Number(1));
        } else {
            self.gather_at(entry, None, aggregate, number);
        }
    }

    /// Adds to the value of an entry, or of one of its ranges.
    fn gather_at(&mut self, entry: &Entry, bucket: Option<Operand>, aggregate: Aggregate, number: Operand) {
        let key = self.bucket_key(entry, bucket);
        let (hit, miss, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        let room = entry.key.as_ref().map_or(0, |key| key.ty.room()) + if bucket.is_some() { 8 } else { 0 };
        let slot = self.slot(entry.map, key, room, aggregate.room(), done);
        if let Some(slot) = &slot {
            let (mine, other) = (self.builder.block(), self.builder.block());
            self.branch_mine(slot, mine, other);
            self.builder.switch_to(mine);
            self.add(slot.value(), aggregate, number);
            self.builder.jump(done);
            self.builder.switch_to(other);
        }
        let map = Argument::Map(self.places.own(entry.map));
        let found = self.builder.call(helper::MAP_LOOKUP_ELEM, vec![map, key.argument()]);
        self.builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), hit, miss);
        self.builder.switch_to(hit);
        self.add(Place { base: Base::Value(found), offset: 0 }, aggregate, number);
        if let Some(slot) = &slot {
            self.take(slot);
        }
        self.builder.jump(done);
        self.builder.switch_to(miss);
        // An array has all its values from the start.
        if entry.key.is_some() {
            let first = self.memory.reserve_frame(aggregate.room());
            self.builder.store(first.base, first.offset, Width::Eight, number);
            if aggregate.room() > 8 {
                self.builder.store(first.base, first.at(8).offset, Width::Eight, Operand::Number(1));
            }
            self.update(entry.map, key, first);
        }
        self.builder.jump(done);
        self.builder.switch_to(done);
    }

    /// The key of an entry, or of one of its ranges, which stands behind the entry's key.
    pub(super) fn bucket_key(&mut self, entry: &Entry, bucket: Option<Operand>) -> Place {
        match (&entry.key, bucket) {
            (Some(key), None) => self.place(key),
            (Some(key), Some(bucket)) => {
                let room = key.ty.room();
                let place = self.memory.reserve(room + 8, self.arena);
                self.write(key, place, super::memory::Fill::Zeroes);
                let last = place.at(room);
                self.builder.store(last.base, last.offset, Width::Eight, bucket);
                place
            }
            (None, bucket) => {
                let place = self.memory.reserve_frame(8);
                let index = bucket.unwrap_or(Operand::Number(0));
                self.builder.store(place.base, place.offset, Width::Four, index);
                place
            }
        }
    }

    /// Adds to a value of this CPU.
    fn add(&mut self, place: Place, aggregate: Aggregate, number: Operand) {
        let add = |lowerer: &mut Self, at: u32, more: Operand| {
            let Place { base, offset } = place.at(at);
            let before = lowerer.builder.load(base, offset, Width::Eight);
            let sum = lowerer.builder.alu(Alu::Add, before.into(), more);
            lowerer.builder.store(base, offset, Width::Eight, sum);
        };
        match aggregate {
            Aggregate::Count => add(self, 0, Operand::Number(1)),
            Aggregate::Sum { .. } => add(self, 0, number),
            Aggregate::Average { .. } | Aggregate::Stats { .. } => {
                add(self, 0, number);
                add(self, 8, Operand::Number(1));
            }
            Aggregate::Min { signed } => {
                self.keep(place, number, if signed { Compare::LessSigned } else { Compare::Less });
            }
            Aggregate::Max { signed } => {
                self.keep(place, number, if signed { Compare::GreaterSigned } else { Compare::Greater });
            }
            Aggregate::Log2 { .. } | Aggregate::Linear { .. } | Aggregate::Series(_) => {}
        }
    }

    /// Keeps a number that is the first, or beats the one before.
    fn keep(&mut self, place: Place, number: Operand, beats: Compare) {
        let (kept, known) = (place, place.at(8));
        let (second, store, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        let set = self.builder.load(known.base, known.offset, Width::Eight);
        self.builder.branch(Compare::Equal, set.into(), Operand::Number(0), store, second);
        self.builder.switch_to(second);
        let before = self.builder.load(kept.base, kept.offset, Width::Eight);
        self.builder.branch(beats, number, before.into(), store, done);
        self.builder.switch_to(store);
        self.builder.store(kept.base, kept.offset, Width::Eight, number);
        self.builder.store(known.base, known.offset, Width::Eight, Operand::Number(1));
        self.builder.jump(done);
        self.builder.switch_to(done);
    }

    /// The range between powers of two in which a number lies: 0 for negative ones, 1 and on for the smallest, which
    /// have ranges of their own, then `1 << bits` ranges for each power.
    fn log2(&mut self, number: Operand, bits: i32) -> Operand {
        let bucket = self.builder.value();
        let rest = self.builder.value();
        let log = self.builder.value();
        let (not_negative, small, large, done) =
            (self.builder.block(), self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.assign(bucket, Operand::Number(0));
        self.builder.branch(Compare::LessSigned, number, Operand::Number(0), done, not_negative);
        self.builder.switch_to(not_negative);
        self.builder.branch(Compare::Less, number, Operand::Number(1 << bits), small, large);
        self.builder.switch_to(small);
        let next = self.builder.alu(Alu::Add, number, Operand::Number(1));
        self.builder.assign(bucket, next);
        self.builder.jump(done);
        self.builder.switch_to(large);
        self.builder.assign(rest, number);
        self.builder.assign(log, Operand::Number(0));
        for shift in [32, 16, 8, 4, 2, 1] {
            let (upper, next) = (self.builder.block(), self.builder.block());
            let high = self.builder.alu(Alu::ShiftRight, rest.into(), Operand::Number(shift));
            self.builder.branch(Compare::Equal, high, Operand::Number(0), next, upper);
            self.builder.switch_to(upper);
            self.builder.assign(rest, high);
            let more = self.builder.alu(Alu::Add, log.into(), Operand::Number(shift));
            self.builder.assign(log, more);
            self.builder.jump(next);
            self.builder.switch_to(next);
        }
        // With L the logarithm: ((L - bits + 1) << bits) + 1, and the `bits` bits behind the highest one.
        let result = if bits == 0 {
            self.builder.alu(Alu::Add, log.into(), Operand::Number(2))
        } else {
            let scale = self.builder.alu(Alu::Subtract, log.into(), Operand::Number(bits));
            let part = self.builder.alu(Alu::ShiftRight, number, scale);
            let part = self.builder.alu(Alu::And, part, Operand::Number((1 << bits) - 1));
            let power = self.builder.alu(Alu::Add, scale, Operand::Number(1));
            let power = self.builder.alu(Alu::ShiftLeft, power, Operand::Number(bits));
            let sum = self.builder.alu(Alu::Add, power, part);
            self.builder.alu(Alu::Add, sum, Operand::Number(1))
        };
        self.builder.assign(bucket, result);
        self.builder.jump(done);
        self.builder.switch_to(done);
        bucket.into()
    }

    /// The range of equal width in which a number lies: 0 for smaller ones, the last for larger ones.
    fn linear(&mut self, number: Operand, min: i64, max: i64, step: i64) -> Operand {
        let bucket = self.builder.value();
        let (least, most) = (self.builder.number(min), self.builder.number(max));
        let width = self.builder.number(step);
        let (above, inside, beyond, done) =
            (self.builder.block(), self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.assign(bucket, Operand::Number(0));
        self.builder.branch(Compare::LessSigned, number, least, done, above);
        self.builder.switch_to(above);
        self.builder.branch(Compare::GreaterSigned, number, most, beyond, inside);
        self.builder.switch_to(beyond);
        let above_all = self.builder.number(max.saturating_sub(min) / step + 1);
        self.builder.assign(bucket, above_all);
        self.builder.jump(done);
        self.builder.switch_to(inside);
        let distance = self.builder.alu(Alu::Subtract, number, least);
        let index = self.builder.alu(Alu::Divide, distance, width);
        let index = self.builder.alu(Alu::Add, index, Operand::Number(1));
        self.builder.assign(bucket, index);
        self.builder.jump(done);
        self.builder.switch_to(done);
        bucket.into()
    }
}
