//! Expressions.

use super::{Function, Name, Type, Variable};
use crate::source::Span;

/// What can be assigned, stepped and pointed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `$x`.
    Scratch(Name),
    /// `@x` or `@x[key]`.
    Map(MapAccess),
}

impl Target {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Target::Scratch(name) => name.span,
            Target::Map(access) => access.span,
        }
    }
}

/// `@x`, `@x[key]`, `@[a, b]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapAccess {
    /// With the key.
    pub span: Span,
    /// The map's name; empty for `@`.
    pub name: Name,
    /// The key; `@x[a, b]` has the tuple `(a, b)`.
    pub key: Option<Box<Expression>>,
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// Where it stands, with parentheses around it.
    pub span: Span,
    /// What it is.
    pub kind: ExpressionKind,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpressionKind {
    /// A number; a duration such as `10ms` (0.24) in nanoseconds. A sign is [`UnaryOperator::Negate`].
    Int(u64),
    /// `true`, `false` (0.24).
    Bool(bool),
    /// A string, escapes resolved; its bytes need not be UTF-8.
    Text(Vec<u8>),
    /// A name that the language does not define: a constant of an enum or header, a stack mode, a clock.
    Identifier(String),
    /// `pid`, `arg0`.
    Builtin(Builtin),
    /// `$1`, from 1.
    Positional(u32),
    /// `$#`.
    ParameterCount,
    /// `$x`.
    Scratch(String),
    /// `@x[key]`.
    Map(MapAccess),
    /// `str(arg0, 16)`.
    Call {
        /// What is called.
        function: Function,
        /// Where the name stands.
        name_span: Span,
        /// The arguments, in order.
        arguments: Vec<Expression>,
    },
    /// `-x`, `!x`, `*x`.
    Unary(UnaryOperator, Box<Expression>),
    /// `&$x`, `&@x` (0.24).
    AddressOf(Target),
    /// `$x++`, `--@x[tid]`.
    Step {
        /// Up or down.
        step: Step,
        /// Whether the value is the one before the step (`x++`).
        postfix: bool,
        /// What is stepped.
        target: Target,
    },
    /// `a + b`.
    Binary {
        /// The operation.
        operator: BinaryOperator,
        /// Where the operator stands.
        operator_span: Span,
        /// The left operand.
        left: Box<Expression>,
        /// The right operand.
        right: Box<Expression>,
    },
    /// `c ? a : b`.
    Conditional {
        /// The condition.
        condition: Box<Expression>,
        /// The value when it holds.
        then: Box<Expression>,
        /// The value when it does not.
        otherwise: Box<Expression>,
    },
    /// `value.name` or `value->name`.
    Field {
        /// The struct, union or pointer.
        value: Box<Expression>,
        /// Whether it is `->`.
        arrow: bool,
        /// The field.
        name: Name,
    },
    /// `$t.0`.
    TupleIndex {
        /// The tuple.
        value: Box<Expression>,
        /// From 0.
        index: u32,
    },
    /// `value[index]`.
    Index {
        /// The array or pointer.
        value: Box<Expression>,
        /// From 0.
        index: Box<Expression>,
    },
    /// `(struct sock *)arg0`.
    Cast {
        /// The new type.
        ty: Type,
        /// The value.
        value: Box<Expression>,
    },
    /// `(a, b)`; at least two.
    Tuple(Vec<Expression>),
    /// `sizeof(struct sock)`, `sizeof($x)`.
    SizeOf(Measured),
    /// `offsetof(struct sock, __sk_common.skc_daddr)`.
    OffsetOf {
        /// The struct.
        of: Measured,
        /// The path to the field; at least one name.
        path: Vec<Name>,
    },
}

/// What `sizeof` and `offsetof` measure. A lone identifier, which may name a type, is a value here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// A type.
    Type(Type),
    /// The type of an expression.
    Value(Box<Expression>),
}

/// A builtin variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Builtin {
    /// `pid`, `comm`, …
    Variable(Variable),
    /// `arg0`, `arg1`, …
    Arg(u8),
    /// `sarg0`, `sarg1`, …: arguments on the stack.
    StackArg(u8),
}

/// An operator before its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOperator {
    /// `!`.
    Not,
    /// `~`.
    Invert,
    /// `-`.
    Negate,
    /// `*`.
    Dereference,
}

/// `++` or `--`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// `++`.
    Increment,
    /// `--`.
    Decrement,
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are C's")]
pub enum BinaryOperator {
    Or,
    And,
    BitOr,
    BitXor,
    BitAnd,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl BinaryOperator {
    /// Every operator with its symbol and how tightly it binds, loosest first.
    pub const ALL: &'static [(BinaryOperator, &'static str, u8)] = &[
        (BinaryOperator::Or, "||", 1),
        (BinaryOperator::And, "&&", 2),
        (BinaryOperator::BitOr, "|", 3),
        (BinaryOperator::BitXor, "^", 4),
        (BinaryOperator::BitAnd, "&", 5),
        (BinaryOperator::Equal, "==", 6),
        (BinaryOperator::NotEqual, "!=", 6),
        (BinaryOperator::Less, "<", 7),
        (BinaryOperator::LessEqual, "<=", 7),
        (BinaryOperator::Greater, ">", 7),
        (BinaryOperator::GreaterEqual, ">=", 7),
        (BinaryOperator::ShiftLeft, "<<", 8),
        (BinaryOperator::ShiftRight, ">>", 8),
        (BinaryOperator::Add, "+", 9),
        (BinaryOperator::Subtract, "-", 9),
        (BinaryOperator::Multiply, "*", 10),
        (BinaryOperator::Divide, "/", 10),
        (BinaryOperator::Modulo, "%", 10),
    ];

    /// As written.
    pub fn symbol(self) -> &'static str {
        Self::ALL.iter().find(|(operator, ..)| *operator == self).map_or("", |(_, symbol, _)| symbol)
    }

    /// How tightly it binds: from 1 (`||`) to 10 (`*`).
    pub fn precedence(self) -> u8 {
        Self::ALL.iter().find(|(operator, ..)| *operator == self).map_or(0, |(.., precedence)| *precedence)
    }

    /// The operator of that symbol.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, text, _)| *text == symbol).map(|(operator, ..)| *operator)
    }

    /// The operation of a compound assignment such as `<<=`.
    pub fn from_assignment(symbol: &str) -> Option<Self> {
        let operator = Self::from_symbol(symbol.strip_suffix('=')?)?;
        (operator.precedence() >= 3 && !(6..=7).contains(&operator.precedence())).then_some(operator)
    }
}
