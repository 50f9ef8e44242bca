//! The script after checking: names are places, every value has a type, and what the language leaves out is written.

use std::collections::BTreeSet;

use crate::format::Format;
use crate::settings::Settings;
use crate::source::Span;
use crate::target::Target;
use crate::types::{Access, Aggregate, Space, Type};

/// A variable of a probe, by its number.
pub type VariableId = usize;
/// A map of the script, by its number.
pub type MapId = usize;
/// What is sent to user space, by its number.
pub type OutputId = usize;

/// A script that can be run.
#[derive(Debug)]
pub struct Script {
    /// Its maps, in the order of their first appearance.
    pub maps: Vec<Map>,
    /// Its probes, one for each attach point.
    pub probes: Vec<Probe>,
    /// What its probes send to user space.
    pub outputs: Vec<Output>,
    /// What its `config` block and the environment set.
    pub settings: Settings,
}

/// A map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Its name without `@`; may be empty.
    pub name: String,
    /// Where it first appears.
    pub span: Span,
    /// The type of its keys; a map without keys has one value.
    pub key: Option<Type>,
    /// What it holds.
    pub value: Held,
    /// Whether a part of what is gathered lies in front of it ([`crate::plan::front`]).
    pub front: bool,
}

/// What a map holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Values.
    Values(Type),
    /// What each CPU gathered.
    Gathered(Aggregate),
}

/// A probe at one attach point.
#[derive(Debug)]
pub struct Probe {
    /// Where it attaches.
    pub target: Target,
    /// The attach point in full, with patterns and parameters replaced.
    pub name: String,
    /// The probe's place in the script.
    pub span: Span,
    /// The types of its variables.
    pub variables: Vec<Type>,
    /// Variables whose addresses it takes.
    pub addressed: BTreeSet<VariableId>,
    /// The filter.
    pub predicate: Option<Expression>,
    /// What it does.
    pub body: Vec<Statement>,
}

/// Something that a probe sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Text made of values.
    Printf {
        /// The text around and the form of the values.
        format: Format,
        /// Whether it is `errorf`, which writes to the error stream.
        error: bool,
    },
    /// A value, on a line.
    Value(Type),
    /// All of a map.
    Map {
        /// Which.
        map: MapId,
        /// How many of the largest entries; 0 for all.
        top: u64,
        /// What values are divided by; 0 for nothing.
        divisor: u64,
    },
    /// All entries of a map are to go.
    Clear(MapId),
    /// All values of a map are to become zero.
    Zero(MapId),
    /// The time of day, in this format.
    Time(String),
    /// Texts on a line, up to the first that is empty.
    Join {
        /// What stands between them.
        separator: Vec<u8>,
        /// Bytes of each.
        size: u32,
    },
    /// The trace is to end, with the code that is sent.
    Exit,
}

/// A statement.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its place.
    pub span: Span,
    /// What it does.
    pub kind: StatementKind,
}

/// What a statement does.
#[derive(Debug, Clone)]
pub enum StatementKind {
    /// A value that is computed for its effect.
    Evaluate(Expression),
    /// A variable gets a value.
    Assign(VariableId, Expression),
    /// A map's entry gets a value.
    Put(Entry, Expression),
    /// A map gathers a value; [`Aggregate::Count`] needs none.
    Gather(Entry, Option<Expression>),
    /// A map gathers a value into the interval of a point in time: nanoseconds since 1970.
    GatherAt(Entry, Expression, Expression),
    /// An entry goes.
    Delete(Entry),
    /// Values are sent to user space.
    Send(OutputId, Vec<Expression>),
    /// One of two blocks.
    If(Expression, Vec<Statement>, Vec<Statement>),
    /// A block as long as a condition holds.
    While(Expression, Vec<Statement>),
    /// A block for every number from the first up to the second.
    ForRange {
        /// Gets the number.
        variable: VariableId,
        /// The first.
        start: Expression,
        /// The one behind the last.
        end: Expression,
        /// What is done.
        body: Vec<Statement>,
    },
    /// A block for every entry of a map.
    ForMap {
        /// Gets key and value.
        variable: VariableId,
        /// The map.
        map: MapId,
        /// What is done.
        body: Vec<Statement>,
    },
    /// Behind the innermost loop.
    Break,
    /// To the next round of the innermost loop.
    Continue,
    /// The probe ends.
    Return,
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The map.
    pub map: MapId,
    /// The key, of the map's type; none for a map without keys.
    pub key: Option<Box<Expression>>,
}

/// A value.
#[derive(Debug, Clone)]
pub struct Expression {
    /// Its place.
    pub span: Span,
    /// Its type.
    pub ty: Type,
    /// How it comes about.
    pub kind: ExpressionKind,
}

impl Expression {
    /// The values that it is made of.
    pub fn parts(&self) -> Vec<&Expression> {
        match &self.kind {
            ExpressionKind::Unary(_, a)
            | ExpressionKind::Narrow(a)
            | ExpressionKind::Retype(a)
            | ExpressionKind::Swap(a)
            | ExpressionKind::AddressOf(a)
            | ExpressionKind::Widen(a)
            | ExpressionKind::Element(a, _)
            | ExpressionKind::Memory { pointer: a, .. } => vec![a],
            ExpressionKind::Binary(_, a, b)
            | ExpressionKind::Compare(_, _, a, b)
            | ExpressionKind::SameText { left: a, right: b, .. }
            | ExpressionKind::Contains { text: a, part: b }
            | ExpressionKind::Logical { left: a, right: b, .. }
            | ExpressionKind::Address { family: a, bytes: b } => vec![a, b],
            ExpressionKind::Conditional(a, b, c) => vec![a, b, c],
            ExpressionKind::Tuple(items) => items.iter().collect(),
            ExpressionKind::Entry(entry)
            | ExpressionKind::Total(entry)
            | ExpressionKind::HasKey(entry)
            | ExpressionKind::StepEntry(entry, _) => entry.key.iter().map(AsRef::as_ref).collect(),
            ExpressionKind::TextAt { pointer, length, .. } | ExpressionKind::BytesAt { pointer, length } => {
                std::iter::once(pointer.as_ref()).chain(length.as_deref()).collect()
            }
            ExpressionKind::Int(_)
            | ExpressionKind::Text(_)
            | ExpressionKind::Variable(_)
            | ExpressionKind::Length(_)
            | ExpressionKind::Source(_)
            | ExpressionKind::StepVariable(..) => Vec::new(),
        }
    }

    /// Whether it is, or is made of, a value like this.
    pub fn any(&self, like: &mut impl FnMut(&Expression) -> bool) -> bool {
        like(self) || self.parts().into_iter().any(|part| part.any(like))
    }
}

/// How a value comes about.
#[derive(Debug, Clone)]
pub enum ExpressionKind {
    /// A number.
    Int(i64),
    /// Text; without the zero behind it.
    Text(Vec<u8>),
    /// A variable.
    Variable(VariableId),
    /// A map's entry; zero where there is none.
    Entry(Entry),
    /// What all CPUs gathered in a map's entry, as a number; zero where there is nothing.
    Total(Entry),
    /// How many entries a map has.
    Length(MapId),
    /// Whether a map has an entry.
    HasKey(Entry),
    /// What the kernel tells.
    Source(Source),
    /// An operation on one number.
    Unary(Unary, Box<Expression>),
    /// Arithmetic on two numbers.
    Binary(Arithmetic, Box<Expression>, Box<Expression>),
    /// A comparison of two numbers, which minds signs or not.
    Compare(Comparison, bool, Box<Expression>, Box<Expression>),
    /// Whether two texts are equal, or their first bytes are.
    SameText {
        /// One.
        left: Box<Expression>,
        /// The other.
        right: Box<Expression>,
        /// How many bytes count; all without.
        length: Option<u32>,
        /// Whether the answer is the other way round.
        negated: bool,
    },
    /// Whether a text is somewhere in another.
    Contains {
        /// The whole.
        text: Box<Expression>,
        /// What is looked for.
        part: Box<Expression>,
    },
    /// Both, or one of two.
    Logical {
        /// Whether both.
        and: bool,
        /// Looked at first.
        left: Box<Expression>,
        /// Looked at if the first does not decide.
        right: Box<Expression>,
    },
    /// One of two values.
    Conditional(Box<Expression>, Box<Expression>, Box<Expression>),
    /// The number as one of fewer bits: of the expression's own type.
    Narrow(Box<Expression>),
    /// The same bits under another type.
    Retype(Box<Expression>),
    /// Where a value lies in the probe's own memory.
    AddressOf(Box<Expression>),
    /// The same text or bytes with more room behind them.
    Widen(Box<Expression>),
    /// Values side by side.
    Tuple(Vec<Expression>),
    /// One of a tuple's values.
    Element(Box<Expression>, usize),
    /// A variable is stepped.
    StepVariable(VariableId, Stepping),
    /// A map's entry is stepped.
    StepEntry(Entry, Stepping),
    /// A value in the kernel's or the process' memory: read for numbers, an address for records and arrays.
    Memory {
        /// A pointer.
        pointer: Box<Expression>,
        /// Bytes from there.
        offset: i64,
        /// How it is read.
        access: Access,
        /// Of a bit field: bits to its lowest bit, counted in the number read, and how many there are.
        bits: Option<(u32, u32)>,
    },
    /// Text in the kernel's or the process' memory, up to the zero behind it.
    TextAt {
        /// Where it begins.
        pointer: Box<Expression>,
        /// Whose memory.
        space: Space,
        /// Bytes at most, the zero included, if fewer than the type has.
        length: Option<Box<Expression>>,
    },
    /// Bytes in the kernel's memory.
    BytesAt {
        /// Where they begin.
        pointer: Box<Expression>,
        /// How many, if fewer than the type has.
        length: Option<Box<Expression>>,
    },
    /// An IP address: its family and its bytes or, for IPv4, its number.
    Address {
        /// `AF_INET` or `AF_INET6`; told by the size where it is not written.
        family: Box<Expression>,
        /// The address.
        bytes: Box<Expression>,
    },
    /// The bytes in the other order.
    Swap(Box<Expression>),
}

/// An operation on one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unary {
    Not,
    Invert,
    Negate,
}

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// A comparison of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// A step up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stepping {
    /// 1 or -1, or the size of what a pointer points to.
    pub by: i64,
    /// Whether the value is the one before the step.
    pub before: bool,
}

/// What the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the builtins'")]
pub enum Source {
    Pid,
    Tid,
    Uid,
    Gid,
    /// Nanoseconds of a clock, by the helper that reads it.
    Clock(i32),
    /// Nanoseconds since the trace began.
    Elapsed,
    Cpu,
    NumaNode,
    Random,
    Cgroup,
    Jiffies,
    /// The thread's name; where it lies in a task that the verifier knows the type of, else a helper reads it.
    Comm(Option<i16>),
    /// The task, by the helper that tells it.
    Task(i32),
    /// The address of the probe's context.
    Context,
    /// Part of the probe's context: bytes from its start, and how many.
    ContextPart(i16, u8),
    /// The number of a stack.
    Stack(Space),
    /// How many frames a stack has, up to so many.
    Frames(Space, u32),
    /// The address of the function that was hit.
    FunctionAddress,
}
