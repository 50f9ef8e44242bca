//! Every expression of a tree.

use super::{Block, Expression, ExpressionKind, MapAccess, Measured, Statement, StatementKind, Target};

/// Shows all expressions of a block, outer ones before those within them.
pub fn block(block: &Block, see: &mut impl FnMut(&Expression)) {
    block.statements.iter().for_each(|inner| statement(inner, see));
}

fn statement(statement: &Statement, see: &mut impl FnMut(&Expression)) {
    match &statement.kind {
        StatementKind::Expression(value) => expression(value, see),
        StatementKind::Let { value, .. } => value.iter().for_each(|value| expression(value, see)),
        StatementKind::Assign { target: into, value, .. } => {
            target(into, see);
            expression(value, see);
        }
        StatementKind::If { branches, otherwise } => {
            for branch in branches {
                expression(&branch.condition, see);
                block(&branch.body, see);
            }
            if let Some(otherwise) = otherwise {
                block(otherwise, see);
            }
        }
        StatementKind::While { condition: value, body } | StatementKind::Unroll { count: value, body } => {
            expression(value, see);
            block(body, see);
        }
        StatementKind::ForMap { body, .. } => block(body, see),
        StatementKind::ForRange { start, end, body, .. } => {
            expression(start, see);
            expression(end, see);
            block(body, see);
        }
        StatementKind::Return(value) => value.iter().for_each(|value| expression(value, see)),
        StatementKind::Break | StatementKind::Continue => {}
    }
}

fn target(target: &Target, see: &mut impl FnMut(&Expression)) {
    if let Target::Map(access) = target {
        key(access, see);
    }
}

fn key(access: &MapAccess, see: &mut impl FnMut(&Expression)) {
    access.key.iter().for_each(|key| expression(key, see));
}

/// Shows an expression and all within it.
pub fn expression(value: &Expression, see: &mut impl FnMut(&Expression)) {
    see(value);
    match &value.kind {
        ExpressionKind::Map(access) => key(access, see),
        ExpressionKind::Call { arguments: items, .. } | ExpressionKind::Tuple(items) => {
            for item in items {
                expression(item, see);
            }
        }
        ExpressionKind::Unary(_, inner)
        | ExpressionKind::Field { value: inner, .. }
        | ExpressionKind::TupleIndex { value: inner, .. }
        | ExpressionKind::Cast { value: inner, .. }
        | ExpressionKind::SizeOf(Measured::Value(inner))
        | ExpressionKind::OffsetOf { of: Measured::Value(inner), .. } => expression(inner, see),
        ExpressionKind::AddressOf(into) | ExpressionKind::Step { target: into, .. } => target(into, see),
        ExpressionKind::Binary { left, right, .. } | ExpressionKind::Index { value: left, index: right } => {
            expression(left, see);
            expression(right, see);
        }
        ExpressionKind::Conditional { condition, then, otherwise } => {
            for part in [condition, then, otherwise] {
                expression(part, see);
            }
        }
        ExpressionKind::Int(_)
        | ExpressionKind::Bool(_)
        | ExpressionKind::Text(_)
        | ExpressionKind::Identifier(_)
        | ExpressionKind::Builtin(_)
        | ExpressionKind::Positional(_)
        | ExpressionKind::ParameterCount
        | ExpressionKind::Scratch(_)
        | ExpressionKind::SizeOf(Measured::Type(_))
        | ExpressionKind::OffsetOf { of: Measured::Type(_), .. } => {}
    }
}
