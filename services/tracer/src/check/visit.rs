//! All statements and values of a checked probe, one after the other.

use crate::typed::{Expression, Statement, StatementKind};

/// What one look at a statement or value found.
pub(crate) enum Seen<'s> {
    Statement(&'s Statement),
    Value(&'s Expression),
}

/// Shows all statements, those within others too, and all values in them.
pub(crate) fn each<'s>(statements: &'s [Statement], see: &mut impl FnMut(Seen<'s>)) {
    for statement in statements {
        see(Seen::Statement(statement));
        match &statement.kind {
            StatementKind::Evaluate(value) | StatementKind::Assign(_, value) => inside(value, see),
            StatementKind::Put(entry, value) | StatementKind::GatherAt(entry, value, _) => {
                entry.key.iter().for_each(|key| inside(key, see));
                inside(value, see);
            }
            StatementKind::Gather(entry, value) => {
                entry.key.iter().for_each(|key| inside(key, see));
                if let Some(value) = value {
                    inside(value, see);
                }
            }
            StatementKind::Delete(entry) => entry.key.iter().for_each(|key| inside(key, see)),
            StatementKind::Send(_, values) => values.iter().for_each(|value| inside(value, see)),
            StatementKind::If(condition, then, otherwise) => {
                inside(condition, see);
                each(then, see);
                each(otherwise, see);
            }
            StatementKind::While(condition, body) => {
                inside(condition, see);
                each(body, see);
            }
            StatementKind::ForRange { start, end, body, .. } => {
                inside(start, see);
                inside(end, see);
                each(body, see);
            }
            StatementKind::ForMap { body, .. } => each(body, see),
            StatementKind::Break | StatementKind::Continue | StatementKind::Return => {}
        }
    }
}

/// Shows a value and all that it is made of.
pub(crate) fn inside<'s>(value: &'s Expression, see: &mut impl FnMut(Seen<'s>)) {
    see(Seen::Value(value));
    value.parts().into_iter().for_each(|part| inside(part, see));
}
