//! Statements.

use std::collections::BTreeMap;

use super::Checker;
use super::map::widened;
use crate::ast;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind, Held, Statement, StatementKind, VariableId};
use crate::types::Type;

/// Times that `unroll` repeats its body at most, as in bpftrace.
const MAX_UNROLL: i64 = 100;

impl Checker<'_> {
    /// A block with a scope of its own.
    pub(super) fn block(&mut self, block: &ast::Block) -> Vec<Statement> {
        self.scopes.push(BTreeMap::new());
        let statements = block.statements.iter().flat_map(|statement| self.statement(statement)).collect();
        self.scopes.pop();
        statements
    }

    /// What a statement becomes: `unroll` becomes several.
    fn statement(&mut self, statement: &ast::Statement) -> Vec<Statement> {
        let span = statement.span;
        let kind = match &statement.kind {
            ast::StatementKind::Expression(expression) => return vec![self.effect(expression)],
            ast::StatementKind::Let { variable, ty, value } => self.declare(variable, ty.as_ref(), value.as_ref()),
            ast::StatementKind::Assign { target, operator, value } => self.assign(target, *operator, value, span),
            ast::StatementKind::If { branches, otherwise } => return self.branches(branches, otherwise.as_ref(), span),
            ast::StatementKind::While { condition, body } => {
                let condition = self.expression(condition);
                let condition = self.condition(condition);
                self.loops += 1;
                let body = self.block(body);
                self.loops -= 1;
                Some(StatementKind::While(condition, body))
            }
            ast::StatementKind::Unroll { count, body } => return self.unroll(count, body),
            ast::StatementKind::ForMap { variable, map, body } => self.for_map(variable, map, body),
            ast::StatementKind::ForRange { variable, start, end, body } => {
                let start = self.integer(start);
                let end = self.integer(end);
                self.scopes.push(BTreeMap::new());
                let number = self.new_variable(&variable.text);
                self.learn_variable(number, &Type::INT64, variable.span);
                self.loops += 1;
                let body = self.block(body);
                self.loops -= 1;
                self.scopes.pop();
                Some(StatementKind::ForRange { variable: number, start, end, body })
            }
            ast::StatementKind::Break | ast::StatementKind::Continue if self.loops == 0 => {
                self.error("outside-loop", "there is no loop around this", span);
                None
            }
            ast::StatementKind::Break => Some(StatementKind::Break),
            ast::StatementKind::Continue => Some(StatementKind::Continue),
            ast::StatementKind::Return(value) => {
                if let Some(value) = value {
                    let value = self.expression(value);
                    let message = "probes return nothing";
                    self.report(Diagnostic::warning("value-unused", message, value.span));
                }
                Some(StatementKind::Return)
            }
        };
        kind.map(|kind| Statement { span, kind }).into_iter().collect()
    }

    fn for_map(&mut self, variable: &ast::Name, map: &ast::Name, body: &ast::Block) -> Option<StatementKind> {
        let number = self.map(map);
        let name = self.map_name(number);
        let held = self.held(number).cloned();
        let ty = match (&held, self.key_type(number)) {
            (Some(Held::Values(value)), Some(key)) => Type::Tuple(vec![key.clone(), value.clone()]),
            (Some(Held::Gathered(aggregate)), Some(key)) => {
                let key = key.clone();
                Type::Tuple(vec![key, self.total(number, *aggregate, map.span)?])
            }
            (Some(_), None) => {
                self.error("map-type", format!("`{name}` has no keys to go through"), map.span);
                return None;
            }
            (None, _) => {
                if self.last {
                    self.undefined_map(number, map.span);
                }
                Type::Unknown
            }
        };
        self.scopes.push(BTreeMap::new());
        let pair = self.new_variable(&variable.text);
        self.learn_variable(pair, &ty, variable.span);
        self.loops += 1;
        let body = self.block(body);
        self.loops -= 1;
        self.scopes.pop();
        Some(StatementKind::ForMap { variable: pair, map: number, body })
    }

    fn branches(&mut self, branches: &[ast::Branch], otherwise: Option<&ast::Block>, span: Span) -> Vec<Statement> {
        // From the last to the first, so that a thousand branches need no thousand stack frames.
        let checked: Vec<(Expression, Vec<Statement>)> = branches
            .iter()
            .map(|branch| {
                let condition = self.expression(&branch.condition);
                (self.condition(condition), self.block(&branch.body))
            })
            .collect();
        let last = otherwise.map_or_else(Vec::new, |otherwise| self.block(otherwise));
        checked.into_iter().rev().fold(last, |otherwise, (condition, then)| {
            vec![Statement { span, kind: StatementKind::If(condition, then, otherwise) }]
        })
    }

    fn unroll(&mut self, count: &ast::Expression, body: &ast::Block) -> Vec<Statement> {
        let count = self.integer(count);
        let times = match count.kind {
            ExpressionKind::Int(times @ 1..=MAX_UNROLL) => times,
            ExpressionKind::Int(_) => {
                let message = format!("a block is repeated between 1 and {MAX_UNROLL} times");
                self.error("unroll-count", message, count.span);
                return Vec::new();
            }
            _ => {
                self.error("unroll-count", "how often a block is repeated must be known here", count.span);
                return Vec::new();
            }
        };
        (0..times).flat_map(|_| self.block(body)).collect()
    }

    fn declare(
        &mut self,
        variable: &ast::Name,
        ty: Option<&ast::Type>,
        value: Option<&ast::Expression>,
    ) -> Option<StatementKind> {
        let declared = ty.map(|ty| self.type_of(ty));
        let value = value.map(|value| self.expression(value));
        if self.scopes.last().is_some_and(|scope| scope.contains_key(&variable.text)) {
            let message = format!("`${}` is declared twice in this block", variable.text);
            self.error("variable-declared", message, variable.span);
        }
        let number = self.new_variable(&variable.text);
        if let Some(declared) = &declared {
            self.learn_variable(number, declared, variable.span);
        }
        let value = match value {
            Some(value) => {
                self.learn_variable(number, &value.ty, value.span);
                value
            }
            None => Expression { span: variable.span, ty: Type::INT64, kind: ExpressionKind::Int(0) },
        };
        self.assigned(number, value)
    }

    /// A variable's new value, as one of the variable's type.
    fn assigned(&mut self, variable: VariableId, value: Expression) -> Option<StatementKind> {
        let ty = self.variable_type(variable);
        if value.ty == Type::None {
            self.error("no-value", "this has no value to assign", value.span);
            return None;
        }
        let value = match (&ty, &value.kind) {
            (Type::Unknown, _) => return None,
            // `let $x: string` begins empty.
            (Type::Text(_), ExpressionKind::Int(0)) => {
                Expression { span: value.span, ty: ty.clone(), kind: ExpressionKind::Text(Vec::new()) }
            }
            _ => widened(value, Some(&ty)),
        };
        Some(StatementKind::Assign(variable, value))
    }

    fn assign(
        &mut self,
        target: &ast::Target,
        operator: Option<ast::BinaryOperator>,
        value: &ast::Expression,
        span: Span,
    ) -> Option<StatementKind> {
        match target {
            ast::Target::Scratch(name) => {
                let mut value = self.expression(value);
                if let Some(operator) = operator {
                    let before = self.variable(&name.text, name.span);
                    value = self.arithmetic(operator, before, value, span, span);
                }
                let variable = self.lookup(&name.text).unwrap_or_else(|| self.new_variable(&name.text));
                self.learn_variable(variable, &value.ty, span);
                self.assigned(variable, value)
            }
            ast::Target::Map(access) => {
                if operator.is_none()
                    && let ast::ExpressionKind::Call { function, arguments, .. } = &value.kind
                    && let Some(kind) = self.gather(access, *function, arguments, value.span)
                {
                    return Some(kind);
                }
                let entry = self.entry(access);
                let mut value = self.expression(value);
                if let Some(operator) = operator {
                    if self.held(entry.map).is_none() {
                        // `@x += 1` makes a map of numbers.
                        self.put(entry.map, &super::expression::number(0, Type::INT64, access.span), access.span);
                    }
                    let before = self.entry_value(entry.clone(), access.span);
                    value = self.arithmetic(operator, before, value, span, span);
                }
                if value.ty == Type::None {
                    self.error("no-value", "this has no value to assign", value.span);
                    return None;
                }
                self.put(entry.map, &value, access.span);
                let held = match self.held(entry.map) {
                    Some(Held::Values(held)) => Some(held.clone()),
                    _ => None,
                };
                let value = widened(value, held.as_ref());
                Some(StatementKind::Put(entry, value))
            }
        }
    }

    /// The number of a variable that can be seen from here.
    pub(super) fn lookup(&self, name: &str) -> Option<VariableId> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).copied()
    }

    pub(super) fn new_variable(&mut self, name: &str) -> VariableId {
        let number = self.variable_count;
        self.variable_count += 1;
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), number);
        }
        number
    }

    pub(super) fn variable_type(&self, variable: VariableId) -> Type {
        self.variables.get(&(self.number, variable)).cloned().unwrap_or(Type::Unknown)
    }

    /// A variable holds a value of this type.
    pub(super) fn learn_variable(&mut self, variable: VariableId, ty: &Type, span: Span) {
        if matches!(ty, Type::Unknown | Type::None) {
            return;
        }
        let known = self.variable_type(variable);
        if let Some(joined) = known.join(ty) {
            self.variables.insert((self.number, variable), joined);
        } else {
            let message = format!("this is `{ty}`, and the variable holds `{known}`");
            self.error("variable-type", message, span);
        }
    }
}
