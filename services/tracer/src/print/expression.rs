//! Expressions as text.

use super::Printer;
use crate::ast::{Builtin, Expression, ExpressionKind, MapAccess, Measured, Step, Target, UnaryOperator};

/// How tightly a conditional binds: looser than every operator.
const CONDITIONAL: u8 = 0;
/// How tightly casts and operators before a value bind.
const UNARY: u8 = 11;
/// How tightly fields, indices and calls bind.
const POSTFIX: u8 = 12;

/// How tightly an expression holds together.
fn strength(expression: &Expression) -> u8 {
    match &expression.kind {
        ExpressionKind::Conditional { .. } => CONDITIONAL,
        ExpressionKind::Binary { operator, .. } => operator.precedence(),
        ExpressionKind::Unary(..)
        | ExpressionKind::Cast { .. }
        | ExpressionKind::AddressOf(_)
        | ExpressionKind::Step { postfix: false, .. } => UNARY,
        _ => POSTFIX,
    }
}

impl Printer {
    /// An expression where a loose one may stand.
    pub(super) fn expression(&mut self, expression: &Expression) {
        self.at_least(CONDITIONAL, expression);
    }

    /// An expression where only an operand may stand.
    pub(super) fn operand(&mut self, expression: &Expression) {
        self.at_least(POSTFIX, expression);
    }

    fn at_least(&mut self, needed: u8, expression: &Expression) {
        let loose = strength(expression) < needed;
        if loose {
            self.put("(");
        }
        self.bare(expression);
        if loose {
            self.put(")");
        }
    }

    fn bare(&mut self, expression: &Expression) {
        match &expression.kind {
            ExpressionKind::Int(value) => self.put(&value.to_string()),
            ExpressionKind::Bool(value) => self.put(&value.to_string()),
            ExpressionKind::Text(bytes) => self.string(bytes),
            ExpressionKind::Identifier(name) => self.put(name),
            ExpressionKind::Builtin(Builtin::Variable(variable)) => self.put(variable.name()),
            ExpressionKind::Builtin(Builtin::Arg(number)) => self.put(&format!("arg{number}")),
            ExpressionKind::Builtin(Builtin::StackArg(number)) => self.put(&format!("sarg{number}")),
            ExpressionKind::Positional(number) => self.put(&format!("${number}")),
            ExpressionKind::ParameterCount => self.put("$#"),
            ExpressionKind::Scratch(name) => self.put(&format!("${name}")),
            ExpressionKind::Map(access) => self.map_access(access),
            ExpressionKind::Call { function, arguments, .. } => {
                self.put(function.name());
                self.parenthesised(arguments);
            }
            ExpressionKind::Tuple(elements) => self.parenthesised(elements),
            ExpressionKind::Unary(operator, operand) => self.unary(*operator, operand),
            ExpressionKind::AddressOf(target) => {
                self.put("&");
                self.target(target);
            }
            ExpressionKind::Step { step, postfix, target } => {
                let sign = if *step == Step::Increment { "++" } else { "--" };
                self.put(if *postfix { "" } else { sign });
                self.target(target);
                self.put(if *postfix { sign } else { "" });
            }
            ExpressionKind::Binary { operator, left, right, .. } => {
                self.at_least(operator.precedence(), left);
                self.put(&format!(" {} ", operator.symbol()));
                self.at_least(operator.precedence() + 1, right);
            }
            ExpressionKind::Conditional { condition, then, otherwise } => {
                self.at_least(CONDITIONAL + 1, condition);
                self.put(" ? ");
                self.expression(then);
                self.put(" : ");
                self.expression(otherwise);
            }
            ExpressionKind::Cast { ty, value } => {
                self.put("(");
                self.ty(ty);
                self.put(")");
                // `(name)&$x` would read as an operation on two values.
                let address = matches!(value.kind, ExpressionKind::AddressOf(_));
                self.at_least(if address { POSTFIX } else { UNARY }, value);
            }
            _ => self.part_of(expression),
        }
    }

    /// Fields, elements, sizes and offsets.
    fn part_of(&mut self, expression: &Expression) {
        match &expression.kind {
            ExpressionKind::Field { value, arrow, name } => {
                self.operand(value);
                self.put(if *arrow { "->" } else { "." });
                self.put(&name.text);
            }
            ExpressionKind::TupleIndex { value, index } => {
                self.operand(value);
                self.put(&format!(".{index}"));
            }
            ExpressionKind::Index { value, index } => {
                // A map takes the first brackets behind it as its key.
                let keyless = matches!(&value.kind, ExpressionKind::Map(access) if access.key.is_none());
                self.put(if keyless { "(" } else { "" });
                self.operand(value);
                self.put(if keyless { ")[" } else { "[" });
                self.expression(index);
                self.put("]");
            }
            ExpressionKind::SizeOf(of) => {
                self.put("sizeof(");
                self.measured(of);
                self.put(")");
            }
            ExpressionKind::OffsetOf { of, path } => {
                self.put("offsetof(");
                self.measured(of);
                self.put(", ");
                self.joined(path, ".", |printer, name| printer.put(&name.text));
                self.put(")");
            }
            _ => {}
        }
    }

    fn unary(&mut self, operator: UnaryOperator, operand: &Expression) {
        self.put(match operator {
            UnaryOperator::Not => "!",
            UnaryOperator::Invert => "~",
            UnaryOperator::Negate => "-",
            UnaryOperator::Dereference => "*",
        });
        // `- -x` without the parentheses would read as `--x`.
        let minus = matches!(operand.kind, ExpressionKind::Unary(UnaryOperator::Negate, _))
            || matches!(operand.kind, ExpressionKind::Step { postfix: false, step: Step::Decrement, .. });
        let needed = if operator == UnaryOperator::Negate && minus { POSTFIX } else { UNARY };
        self.at_least(needed, operand);
    }

    fn measured(&mut self, of: &Measured) {
        match of {
            Measured::Type(ty) => self.ty(ty),
            Measured::Value(value) => self.expression(value),
        }
    }

    fn parenthesised(&mut self, list: &[Expression]) {
        self.put("(");
        self.joined(list, ", ", Self::expression);
        self.put(")");
    }

    pub(super) fn target(&mut self, target: &Target) {
        match target {
            Target::Scratch(name) => self.put(&format!("${}", name.text)),
            Target::Map(access) => self.map_access(access),
        }
    }

    fn map_access(&mut self, access: &MapAccess) {
        self.put("@");
        self.put(&access.name.text);
        match access.key.as_deref() {
            None => {}
            Some(Expression { kind: ExpressionKind::Tuple(keys), .. }) => {
                self.put("[");
                self.joined(keys, ", ", Self::expression);
                self.put("]");
            }
            Some(key) => {
                self.put("[");
                self.expression(key);
                self.put("]");
            }
        }
    }

    /// A string in quotes; bytes that are no printable ASCII become escapes.
    pub(super) fn string(&mut self, bytes: &[u8]) {
        self.put("\"");
        for byte in bytes {
            match byte {
                b'\n' => self.put("\\n"),
                b'\t' => self.put("\\t"),
                b'\r' => self.put("\\r"),
                b'"' => self.put("\\\""),
                b'\\' => self.put("\\\\"),
                b' '..=b'~' => self.text.push(char::from(*byte)),
                // Three octal digits: a hexadecimal escape would take a digit that follows.
                _ => self.put(&format!("\\{byte:03o}")),
            }
        }
        self.put("\"");
    }
}
