//! The script as a tree. Every node knows its place in the text.
//!
//! The tree holds what was written, macros expanded; nothing is looked up yet: names of types, fields and constants
//! are text. Comparing trees compares places too; [`crate::print`] gives a text that differs only where trees do.

mod definition;
mod expression;
pub mod visit;

pub use definition::*;
pub use expression::*;

use crate::source::Span;
pub use crate::words::{Function, Provider, Variable};

/// A name and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name, without `$` or `@`.
    pub text: String,
    /// Where it stands, with `$` or `@`.
    pub span: Span,
}

/// A whole script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The script's own types, in order.
    pub definitions: Vec<Definition>,
    /// The `config = { … }` block.
    pub config: Option<Config>,
    /// The probes, in order; at least one.
    pub probes: Vec<Probe>,
}

/// `config = { stack_mode = perf; max_map_keys = 2 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The whole block.
    pub span: Span,
    /// Its settings, in order.
    pub entries: Vec<ConfigEntry>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// One of [`crate::words::SETTINGS`]: lower case, without the prefix `BPFTRACE_`.
    pub key: Name,
    /// Its value.
    pub value: ConfigValue,
    /// Where the value stands.
    pub value_span: Span,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// `4096`.
    Int(u64),
    /// `true` or `false`.
    Bool(bool),
    /// `perf`, or text in quotes.
    Text(String),
}

/// `attach points /predicate/ { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// From the first attach point to the closing brace.
    pub span: Span,
    /// What it attaches to; at least one.
    pub attach_points: Vec<AttachPoint>,
    /// The filter.
    pub predicate: Option<Expression>,
    /// What it does.
    pub body: Block,
}

/// `kprobe:tcp_*`, `tracepoint:net:netif_rx`, `interval:s:1`, `BEGIN`; see [`crate::attach`] for its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachPoint {
    /// The whole attach point.
    pub span: Span,
    /// The parts between the colons; the first is the provider.
    pub parts: Vec<Part>,
}

/// One part of an attach point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it stands.
    pub span: Span,
    /// Its pieces, to be read as one word; no two [`Piece::Text`] in a row.
    pub pieces: Vec<Piece>,
}

/// A piece of a part of an attach point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text, quotes removed; it may hold `*` and `[…]`.
    Text(String),
    /// A positional parameter, from 1.
    Positional(u32),
}

/// `{ … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// With the braces.
    pub span: Span,
    /// In order.
    pub statements: Vec<Statement>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Without the semicolon.
    pub span: Span,
    /// What it does.
    pub kind: StatementKind,
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementKind {
    /// A call or another expression for its effect.
    Expression(Expression),
    /// `let $x: type = value`.
    Let {
        /// The scratch variable.
        variable: Name,
        /// Its type, if written.
        ty: Option<Type>,
        /// Its first value, if written.
        value: Option<Expression>,
    },
    /// `$x = 1`, `@x[tid] += 1`.
    Assign {
        /// Where the value goes.
        target: Target,
        /// The operation of a compound assignment: `Add` for `+=`.
        operator: Option<BinaryOperator>,
        /// The right-hand side.
        value: Expression,
    },
    /// `if (…) { … } else if (…) { … } else { … }`.
    If {
        /// The conditions and blocks in order; at least one.
        branches: Vec<Branch>,
        /// The last `else`.
        otherwise: Option<Block>,
    },
    /// `while (…) { … }`.
    While {
        /// The condition.
        condition: Expression,
        /// The loop's body.
        body: Block,
    },
    /// `unroll(n) { … }`.
    Unroll {
        /// How often; a constant or a positional parameter.
        count: Expression,
        /// What is repeated.
        body: Block,
    },
    /// `for ($kv : @map) { … }`.
    ForMap {
        /// The scratch variable for the tuple of key and value.
        variable: Name,
        /// The map.
        map: Name,
        /// The loop's body.
        body: Block,
    },
    /// `for ($i : 0..10) { … }` (0.24): the end is not reached.
    ForRange {
        /// The scratch variable for the number.
        variable: Name,
        /// The first number.
        start: Expression,
        /// The number after the last one.
        end: Expression,
        /// The loop's body.
        body: Block,
    },
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `return`, also with a value.
    Return(Option<Expression>),
}

/// A condition and its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The condition.
    pub condition: Expression,
    /// What is done when it holds.
    pub body: Block,
}
