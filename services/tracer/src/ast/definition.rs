//! Types, and definitions of types.

use super::{Expression, Name};
use crate::source::Span;

/// A type that the script defines itself, in C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// `struct x { … };` or `union x { … };`.
    Record(Record),
    /// `enum x { A, B = 3 };`.
    Enumeration(Enumeration),
    /// `typedef struct x x_t;`.
    Typedef(Typedef),
}

/// Struct, union or enum: what the name of a type belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// `struct`.
    Struct,
    /// `union`.
    Union,
    /// `enum`.
    Enum,
}

/// A struct or union with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The whole definition.
    pub span: Span,
    /// [`Tag::Struct`] or [`Tag::Union`].
    pub tag: Tag,
    /// Its name; members may be of nameless types.
    pub name: Option<Name>,
    /// Its members; `int x, y;` makes two.
    pub members: Vec<Member>,
    /// Whether it has `__attribute__((packed))`.
    pub packed: bool,
}

/// A member of a struct or union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The whole declaration.
    pub span: Span,
    /// Its name; an anonymous struct or union has none, neither has padding between bit fields.
    pub name: Option<Name>,
    /// Its type.
    pub ty: Type,
    /// The width of a bit field, in bits.
    pub bits: Option<Expression>,
}

/// An enum with its constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enumeration {
    /// The whole definition.
    pub span: Span,
    /// Its name.
    pub name: Option<Name>,
    /// Its constants, in order.
    pub constants: Vec<Constant>,
}

/// A constant of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// Its name.
    pub name: Name,
    /// Its value; without one it is the previous constant's plus one.
    pub value: Option<Expression>,
}

/// `typedef <ty> <name>;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typedef {
    /// The whole definition.
    pub span: Span,
    /// The new name.
    pub name: Name,
    /// What it stands for.
    pub ty: Type,
}

/// A type as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Where it stands; in a C definition, the part before the member's name.
    pub span: Span,
    /// What it is.
    pub kind: TypeKind,
}

/// What a type is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// `uint64`, `string`, `size_t`, `unsigned long`: words with one space between them.
    Named(String),
    /// `struct sock`, `union u`, `enum e`.
    Tagged(Tag, String),
    /// `struct { … }` as the type of a member.
    Record(Box<Record>),
    /// `enum { … }` as the type of a member.
    Enumeration(Box<Enumeration>),
    /// `<type> *`.
    Pointer(Box<Type>),
    /// `<type>[16]`, `<type>[]`, and `string[16]` or `inet[16]`, whose number is a size.
    Array(Box<Type>, Option<Box<Expression>>),
    /// What a function pointer in a C definition points to; only the type of its result is kept.
    Function(Box<Type>),
}
