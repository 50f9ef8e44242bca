//! What a type is.

use std::slice::Iter;

use crate::members::Composite;
use crate::record::{Kind, Record, Word, number};
use crate::{Btf, BtfError, Enum, Function, Linkage, Prototype, TypeId};

/// A type. What is unnamed has an empty name.
#[derive(Debug, Clone)]
pub enum Type<'a> {
    /// `void`.
    Void,
    /// An integer, a character or a truth value.
    Int(Int<'a>),
    /// A floating-point number.
    Float(Sized<'a>),
    /// A pointer to a type.
    Pointer(TypeId),
    /// An array.
    Array(Array),
    /// A struct.
    Struct(Composite<'a>),
    /// A union.
    Union(Composite<'a>),
    /// An enumeration.
    Enum(Enum<'a>),
    /// A struct or union that is declared and nowhere defined.
    Forward(Forward<'a>),
    /// Another name for a type.
    Typedef(Target<'a>),
    /// `const`.
    Const(TypeId),
    /// `volatile`.
    Volatile(TypeId),
    /// `restrict`.
    Restrict(TypeId),
    /// A mark such as `user`, `percpu` or `rcu` on what a pointer points to.
    TypeTag(TypeTag<'a>),
    /// A function.
    Function(Function<'a>),
    /// What a function takes and returns.
    Prototype(Prototype<'a>),
    /// A global variable.
    Variable(Variable<'a>),
    /// Variables that lie together, such as those per CPU.
    Section(Section<'a>),
    /// A mark on a struct, a member, a function or a parameter.
    DeclTag(DeclTag<'a>),
}

/// An integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int<'a> {
    /// Its name, such as `unsigned int`.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    /// Whether it may be negative.
    pub signed: bool,
    /// Whether it is a character.
    pub char: bool,
    /// Whether it is a truth value.
    pub bool: bool,
    /// Bits that count; fewer than the size's in bit fields of old kernels.
    pub bits: u32,
    /// Bits before those that count.
    pub bit_offset: u32,
}

/// A name and a size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sized<'a> {
    /// The name.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
}

/// An array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// What it holds.
    pub element: TypeId,
    /// What it is indexed with.
    pub index: TypeId,
    /// Elements; 0 where the length is known at run time only.
    pub length: u32,
}

/// A struct or union that is declared and nowhere defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is a union.
    pub union: bool,
}

/// A name for a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The name.
    pub name: &'a str,
    /// The type.
    pub target: TypeId,
}

/// A mark on a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeTag<'a> {
    /// The mark, such as `user` for `__user`.
    pub name: &'a str,
    /// The type that has it.
    pub target: TypeId,
    /// Whether the mark is the text of any attribute, such as `address_space(1)`, and not that of a `btf_type_tag`.
    pub attribute: bool,
}

/// A mark on a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclTag<'a> {
    /// The mark, such as `bpf_kfunc`.
    pub name: &'a str,
    /// The struct, union, function, variable or typedef that has it.
    pub target: TypeId,
    /// The member or parameter that has it, counted from 0; none where it is the whole.
    pub component: Option<u32>,
    /// Whether the mark is the text of any attribute, and not that of a `btf_decl_tag`.
    pub attribute: bool,
}

/// A global variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub target: TypeId,
    /// Who sees it.
    pub linkage: Linkage,
}

/// Variables that lie together.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// Its name, such as `.data..percpu`.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    /// Its variables.
    pub entries: SectionEntries<'a>,
}

/// A variable's place in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionEntry {
    /// The variable.
    pub variable: TypeId,
    /// Bytes from the section's start.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// The variables of a section.
#[derive(Debug, Clone)]
pub struct SectionEntries<'a>(Iter<'a, [Word; 3]>);

impl Iterator for SectionEntries<'_> {
    type Item = SectionEntry;

    fn next(&mut self) -> Option<SectionEntry> {
        let [variable, offset, size] = self.0.next()?.map(number);
        Some(SectionEntry { variable: TypeId::new(variable), offset, size })
    }
}

impl Btf {
    /// What a type is.
    pub fn type_of(&self, id: TypeId) -> Result<Type<'_>, BtfError> {
        if id == TypeId::VOID {
            return Ok(Type::Void);
        }
        let record = self.record(id).ok_or(BtfError::NoType(id))?;
        let (name, target) = (self.name(record.name), TypeId::new(record.word));
        Ok(match record.kind {
            Kind::Int => Type::Int(int(name, &record)),
            Kind::Float => Type::Float(Sized { name, size: record.word }),
            Kind::Pointer => Type::Pointer(target),
            Kind::Array => {
                let [element, index, length] = record.triples().first().map_or([0; 3], |words| words.map(number));
                Type::Array(Array { element: TypeId::new(element), index: TypeId::new(index), length })
            }
            Kind::Struct => Type::Struct(Composite::new(self, name, &record)),
            Kind::Union => Type::Union(Composite::new(self, name, &record)),
            Kind::Enum | Kind::Enum64 => Type::Enum(Enum::new(self, name, &record)),
            Kind::Forward => Type::Forward(Forward { name, union: record.flag }),
            Kind::Typedef => Type::Typedef(Target { name, target }),
            Kind::Const => Type::Const(target),
            Kind::Volatile => Type::Volatile(target),
            Kind::Restrict => Type::Restrict(target),
            Kind::TypeTag => Type::TypeTag(TypeTag { name, target, attribute: record.flag }),
            Kind::Function => {
                let linkage = Linkage::of(u32::from(record.count));
                Type::Function(Function { id, name, prototype: target, linkage })
            }
            Kind::Prototype => Type::Prototype(Prototype::new(self, &record)),
            Kind::Variable => Type::Variable(Variable { name, target, linkage: Linkage::of(record.first()) }),
            Kind::Section => {
                Type::Section(Section { name, size: record.word, entries: SectionEntries(record.triples().iter()) })
            }
            Kind::DeclTag => {
                // The whole is told as -1.
                let component = Some(record.first()).filter(|component| *component != u32::MAX);
                Type::DeclTag(DeclTag { name, target, component, attribute: record.flag })
            }
        })
    }
}

/// The word behind an integer: its encoding above bit 24, its offset above bit 16, its bits in the lowest eight.
fn int<'a>(name: &'a str, record: &Record<'_>) -> Int<'a> {
    const SIGNED: u8 = 1;
    const CHAR: u8 = 2;
    const BOOL: u8 = 4;
    let [bits, _, offset, encoding] = record.first().to_le_bytes();
    Int {
        name,
        size: record.word,
        signed: encoding & SIGNED != 0,
        char: encoding & CHAR != 0,
        bool: encoding & BOOL != 0,
        bits: bits.into(),
        bit_offset: offset.into(),
    }
}
