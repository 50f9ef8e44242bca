//! What a probe's filter has asked already and its body need not ask again.

use super::Lowerer;
use crate::check::visit::{Seen, each};
use crate::code::Compare;
use crate::code::ir::{BlockId, Operand, Value};
use crate::helper;
use crate::typed::{Entry, Expression, ExpressionKind, Probe, Source};

/// Values that hold wherever a probe's body begins.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Process and thread, as the kernel tells both.
    pub(super) thread: Option<Value>,
    /// Numbers in maps, until the probe itself changes these or a loop begins.
    entries: Vec<(Entry, Operand)>,
}

impl Known {
    pub(super) fn entry(&self, wanted: &Entry) -> Option<Operand> {
        let same = |entry: &Entry| {
            entry.map == wanted.map && matches!((&entry.key, &wanted.key), (Some(a), Some(b)) if is_same(a, b))
        };
        self.entries.iter().find(|(entry, _)| same(entry)).map(|(_, number)| *number)
    }

    /// The probe changes an entry of this map.
    pub(super) fn change(&mut self, map: usize) {
        self.entries.retain(|(entry, _)| entry.map != map);
    }

    /// What comes later in the script may have happened before.
    pub(super) fn begin_loop(&mut self) {
        self.entries.clear();
    }
}

impl Lowerer<'_> {
    /// Asks for process and thread once, where filter and body both want them.
    pub(super) fn ask_thread_once(&mut self, probe: &Probe) {
        let mut in_body = false;
        let mut see = |seen: Seen<'_>| in_body |= matches!(seen, Seen::Value(value) if is_thread(value));
        each(&probe.body, &mut see);
        let in_filter = probe.predicate.as_ref().is_some_and(|filter| filter.any(&mut is_thread));
        // Functions of the probe have other registers.
        if in_filter && in_body && self.shared.is_none() {
            self.known.thread = Some(self.builder.call(helper::GET_CURRENT_PID_TGID, Vec::new()));
        }
    }

    /// Goes on in the body where the filter holds; entries that it looked at are known there.
    pub(super) fn filter(&mut self, filter: &Expression, body: BlockId) {
        match &filter.kind {
            ExpressionKind::Logical { and: true, left, right } => {
                let second = self.builder.block();
                self.filter(left, second);
                self.builder.switch_to(second);
                self.filter(right, body);
            }
            ExpressionKind::Entry(entry) if entry.key.is_some() && filter.ty.is_number() && self.shared.is_none() => {
                let number = self.number(filter);
                self.builder.branch(Compare::NotEqual, number, Operand::Number(0), body, self.exit);
                self.known.entries.push((entry.clone(), number));
            }
            _ => self.branch(filter, body, self.exit),
        }
    }
}

fn is_thread(value: &Expression) -> bool {
    matches!(value.kind, ExpressionKind::Source(Source::Pid | Source::Tid))
}

/// Whether two values are the same throughout a hit.
fn is_same(a: &Expression, b: &Expression) -> bool {
    a.ty == b.ty
        && match (&a.kind, &b.kind) {
            (ExpressionKind::Int(a), ExpressionKind::Int(b)) => a == b,
            (ExpressionKind::Source(a), ExpressionKind::Source(b)) => {
                a == b && matches!(a, Source::Pid | Source::Tid | Source::Uid | Source::Gid | Source::ContextPart(..))
            }
            (ExpressionKind::Narrow(a), ExpressionKind::Narrow(b))
            | (ExpressionKind::Retype(a), ExpressionKind::Retype(b)) => is_same(a, b),
            (ExpressionKind::Tuple(a), ExpressionKind::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
            }
            _ => false,
        }
}
