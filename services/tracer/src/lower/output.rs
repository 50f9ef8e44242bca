//! What is sent to user space: the number of the output, and its values.

use super::Lowerer;
use super::memory::{Fill, Place};
use crate::code::ir::{Argument, Base, Operand};
use crate::code::{Compare, Width};
use crate::helper;
use crate::plan::counter;
use crate::typed::{Expression, Output, OutputId};

/// Leaves the reader asleep (`BPF_RB_NO_WAKEUP`): it looks at the buffer by itself.
const NO_WAKE_UP: i32 = 1;

impl Lowerer<'_> {
    /// Sends a record, or counts that there was no room.
    pub(super) fn send(&mut self, output: OutputId, values: &[Expression]) {
        let size: u32 = 8 + values.iter().map(|value| value.ty.room()).sum::<u32>();
        let size = self.builder.number(size.into());
        let ring = Argument::Map(self.places.ring());
        let arguments = vec![ring, size.into(), Operand::Number(0).into()];
        let record = self.builder.call(helper::RINGBUF_RESERVE, arguments);
        let (room, full, done) = (self.builder.block(), self.builder.block(), self.builder.block());
        self.builder.branch(Compare::NotEqual, record.into(), Operand::Number(0), room, full);
        self.builder.switch_to(full);
        self.count(counter::LOST);
        self.builder.jump(done);
        self.builder.switch_to(room);
        let number = Operand::Number(i32::try_from(output).unwrap_or(0));
        let mut place = Place { base: Base::Value(record), offset: 0 };
        self.builder.store(place.base, place.offset, Width::Eight, number);
        place = place.at(8);
        for value in values {
            self.write(value, place, Fill::Anything);
            place = place.at(value.ty.room());
        }
        let arguments = vec![Operand::Value(record).into(), Operand::Number(NO_WAKE_UP).into()];
        self.builder.call_only(helper::RINGBUF_SUBMIT, arguments);
        self.builder.jump(done);
        self.builder.switch_to(done);
        if matches!(self.script.outputs.get(output), Some(Output::Exit)) {
            self.builder.jump(self.exit);
            // What follows is never reached.
            let after = self.builder.block();
            self.builder.switch_to(after);
        }
    }
}
