//! Which maps have a front.

use std::collections::BTreeSet;

use super::visit::{Seen, each};
use crate::plan;
use crate::typed::{Entry, ExpressionKind, Held, Output, Script, StatementKind};
use crate::types::Aggregate;

/// Gives a front to maps with keys that the script only gathers in and shows: whoever takes entries out or looks at single
/// ones would have to look into the fronts of all CPUs.
pub(super) fn choose(script: &mut Script) {
    let mut others: BTreeSet<usize> = script.outputs.iter().filter_map(emptied).collect();
    for probe in &script.probes {
        let mut see = |seen: Seen<'_>| others.extend(other_than_gathered(&seen));
        each(&probe.body, &mut see);
        probe.predicate.iter().for_each(|value| super::visit::inside(value, &mut see));
    }
    for (number, map) in script.maps.iter_mut().enumerate() {
        let gathers = matches!(&map.value, Held::Gathered(aggregate) if !matches!(aggregate, Aggregate::Series(_)));
        let short = map.key.as_ref().is_some_and(|key| key.room() <= plan::front::KEY_MOST);
        map.front = gathers && short && !others.contains(&number);
    }
}

fn emptied(output: &Output) -> Option<usize> {
    match output {
        Output::Clear(map) | Output::Zero(map) => Some(*map),
        _ => None,
    }
}

/// The map that is used otherwise than by gathering.
fn other_than_gathered(seen: &Seen<'_>) -> Option<usize> {
    match seen {
        Seen::Statement(statement) => match &statement.kind {
            StatementKind::Put(Entry { map, .. }, _)
            | StatementKind::GatherAt(Entry { map, .. }, ..)
            | StatementKind::Delete(Entry { map, .. })
            | StatementKind::ForMap { map, .. } => Some(*map),
            _ => None,
        },
        Seen::Value(value) => match &value.kind {
            ExpressionKind::Entry(entry)
            | ExpressionKind::Total(entry)
            | ExpressionKind::HasKey(entry)
            | ExpressionKind::StepEntry(entry, _) => Some(entry.map),
            ExpressionKind::Length(map) => Some(*map),
            _ => None,
        },
    }
}
