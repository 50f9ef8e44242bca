//! Values over time.

use std::ops::RangeInclusive;

use nix::time::{ClockId, clock_gettime};

use super::Checker;
use super::expression::number;
use super::output::nothing;
use crate::ast;
use crate::helper;
use crate::source::Span;
use crate::typed::{Arithmetic, Expression, ExpressionKind, Source, StatementKind};
use crate::types::{Aggregate, Each, Series, Type};

/// Intervals that a series has at most, as in bpftrace.
const MAX_INTERVALS: i64 = 1_000_000;

impl Checker<'_> {
    /// `@x = tseries(value, 100ms, 20, "avg")`: a value for each of the last intervals (0.24). Intervals begin where the
    /// time of day is a multiple of them, so that those of several nodes are the same.
    pub(super) fn series(
        &mut self,
        access: &ast::MapAccess,
        arguments: &[ast::Expression],
        span: Span,
    ) -> StatementKind {
        let entry = self.entry(access);
        let (value, interval, intervals, each) = match arguments {
            [value, interval, intervals] => (value, interval, intervals, None),
            [value, interval, intervals, each] => (value, interval, intervals, Some(each)),
            _ => {
                let given = arguments.len();
                self.error("arguments", format!("`tseries` takes 3 or 4 arguments, and {given} are given"), span);
                return nothing(span);
            }
        };
        let value = self.integer(value);
        let interval = self.written_within(interval, 1..=i64::MAX, "an interval has at least 1 ns");
        let intervals =
            self.written_within(intervals, 1..=MAX_INTERVALS, "a series has between 1 and 1000000 intervals");
        let each = match each {
            None => Some(Each::Last),
            Some(word) => self.literal_text(word).and_then(|text| {
                let each = Each::named(&text);
                if each.is_none() {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    let message = format!("values of an interval become `avg`, `max`, `min` or `sum`, not `{text}`");
                    self.error("arguments", message, word.span);
                }
                each
            }),
        };
        let (Some(interval), Some(intervals), Some(each)) = (interval, intervals, each) else { return nothing(span) };
        let series = Series {
            interval: interval.cast_unsigned(),
            intervals: u32::try_from(intervals).unwrap_or(1),
            each,
            signed: value.ty.is_signed(),
        };
        self.gathers(entry.map, Aggregate::Series(series), access.span);
        StatementKind::GatherAt(entry, value, apart_from_boot(ClockId::CLOCK_REALTIME, span))
    }

    /// A number that is written out and lies within bounds.
    fn written_within(&mut self, written: &ast::Expression, bounds: RangeInclusive<i64>, wrong: &str) -> Option<i64> {
        let number = self.written_number(written)?;
        if !bounds.contains(&number) {
            self.error("arguments", format!("{wrong}, and this is {number}"), written.span);
            return None;
        }
        Some(number)
    }
}

/// Nanoseconds of a clock that programs cannot read: as far from the boot clock as the two are apart now.
pub(super) fn apart_from_boot(clock: ClockId, span: Span) -> Expression {
    let now = |clock| clock_gettime(clock).map_or(0, |now| now.tv_sec() * 1_000_000_000 + now.tv_nsec());
    let apart = now(clock) - now(ClockId::CLOCK_BOOTTIME);
    let boot = ExpressionKind::Source(Source::Clock(helper::KTIME_GET_BOOT_NS));
    let boot = Box::new(Expression { span, ty: Type::UINT64, kind: boot });
    let apart = Box::new(number(apart, Type::INT64, span));
    Expression { span, ty: Type::UINT64, kind: ExpressionKind::Binary(Arithmetic::Add, boot, apart) }
}
