//! What structs and unions hold, and where.

use std::slice::Iter;

use crate::error::near;
use crate::record::{Record, Word, number};
use crate::walk::DEPTH_MAX;
use crate::{Btf, BtfError, Int, Type, TypeId};

/// Members that are looked at to find one, those of unnamed members included: without a bound, a damaged struct that
/// holds itself twice would be looked at for ever. The kernel's largest structs have some 300.
const LOOKS_MAX: usize = 1 << 17;

/// A struct or a union.
#[derive(Debug, Clone)]
pub struct Composite<'a> {
    /// Its name; empty if it has none.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    /// What it holds, in order.
    pub members: Members<'a>,
}

impl<'a> Composite<'a> {
    pub(crate) fn new(btf: &'a Btf, name: &'a str, record: &Record<'a>) -> Self {
        let members = Members { btf, with_bits: record.flag, words: record.triples().iter() };
        Self { name, size: record.word, members }
    }
}

/// What a struct or union holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name; empty for a struct or union whose members count as this one's.
    pub name: &'a str,
    /// Its type.
    pub id: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Bits of a bit field; none for what is none.
    pub bit_size: Option<u32>,
}

/// The members of a struct or union.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    btf: &'a Btf,
    /// Whether the upper eight bits of an offset are the width of a bit field.
    with_bits: bool,
    words: Iter<'a, [Word; 3]>,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let [name, id, offset] = self.words.next()?.map(number);
        let (name, id) = (self.btf.name(name), TypeId::new(id));
        if !self.with_bits {
            let (more, bit_size) = self.btf.bits_of_integer(id).map_or((0, None), |(more, bits)| (more, Some(bits)));
            return Some(Member { name, id, bit_offset: offset.saturating_add(more), bit_size });
        }
        let bits = offset >> 24;
        Some(Member { name, id, bit_offset: offset & 0x00ff_ffff, bit_size: (bits > 0).then_some(bits) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.words.size_hint()
    }
}

impl ExactSizeIterator for Members<'_> {}

/// Where a member lies, counted from the start of the type that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The member's type.
    pub id: TypeId,
    /// Bits from the start, on machines that begin with the lowest byte.
    pub bit_offset: u32,
    /// Bits of a bit field; none for what is none.
    pub bit_size: Option<u32>,
}

impl Field {
    /// Bytes from the start to the byte in which it begins.
    pub const fn byte_offset(&self) -> u32 {
        self.bit_offset / 8
    }

    /// Bits of that byte which come before it; 0 for what is no bit field.
    pub const fn bits_before(&self) -> u32 {
        self.bit_offset % 8
    }
}

impl Btf {
    /// The members of a struct or union, also behind typedefs.
    pub fn members(&self, id: TypeId) -> Result<Members<'_>, BtfError> {
        match self.resolve(id)?.1 {
            Type::Struct(found) | Type::Union(found) => Ok(found.members),
            _ => Err(BtfError::Unlike { of: self.describe(id), wanted: "struct or union that is known here" }),
        }
    }

    /// A member of a struct or union. Members of unnamed structs and unions count as those of what holds them.
    pub fn member(&self, id: TypeId, name: &str) -> Result<Field, BtfError> {
        let members = self.members(id)?;
        let mut search = Search { btf: self, name, looks: LOOKS_MAX };
        if let Some(found) = search.among(members, 0)? {
            return Ok(found);
        }
        let names = self.members(id)?.flat_map(|member| match member.name {
            "" => self.members(member.id).into_iter().flatten().map(|member| member.name).collect(),
            name => vec![name],
        });
        let near = near(name, names.filter(|name| !name.is_empty()));
        Err(BtfError::NoMember { of: self.describe(id), member: name.to_owned(), near })
    }

    /// A member of a member of …, by a path such as `__sk_common.skc_net.net`. It does not go through pointers.
    pub fn field(&self, id: TypeId, path: &str) -> Result<Field, BtfError> {
        let mut whole = Field { id, bit_offset: 0, bit_size: None };
        for name in path.split('.') {
            let part = self.member(whole.id, name)?;
            let bit_offset = whole.bit_offset.checked_add(part.bit_offset).ok_or(BtfError::Endless(id))?;
            whole = Field { bit_offset, ..part };
        }
        Ok(whole)
    }

    /// Bytes from the start of a struct to a member, by names: `("net", "ns.inum")`.
    pub fn offset_of(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        let field = self.field(self.find_struct(structure)?, path)?;
        if field.bits_before() != 0 {
            return Err(BtfError::WithinByte { of: structure.to_owned(), path: path.to_owned() });
        }
        Ok(field.byte_offset())
    }

    /// Offset and width of an integer that does not fill its bytes: so were bit fields told before there was a flag.
    fn bits_of_integer(&self, id: TypeId) -> Option<(u32, u32)> {
        let (_, Type::Int(Int { size, bits, bit_offset, .. })) = self.resolve(id).ok()? else { return None };
        (bit_offset > 0 || bits < size.saturating_mul(8)).then_some((bit_offset, bits))
    }
}

struct Search<'a> {
    btf: &'a Btf,
    name: &'a str,
    /// Members that may still be looked at.
    looks: usize,
}

impl Search<'_> {
    fn among(&mut self, members: Members<'_>, depth: usize) -> Result<Option<Field>, BtfError> {
        for Member { name, id, bit_offset, bit_size } in members {
            self.looks = self.looks.checked_sub(1).ok_or(BtfError::Endless(id))?;
            if !name.is_empty() {
                if name == self.name {
                    return Ok(Some(Field { id, bit_offset, bit_size }));
                }
                continue;
            }
            // What is unnamed and holds nothing is padding.
            let Ok(inner) = self.btf.members(id) else { continue };
            if depth == DEPTH_MAX {
                return Err(BtfError::Endless(id));
            }
            if let Some(found) = self.among(inner, depth + 1)? {
                let bit_offset = bit_offset.checked_add(found.bit_offset).ok_or(BtfError::Endless(id))?;
                return Ok(Some(Field { bit_offset, ..found }));
            }
        }
        Ok(None)
    }
}
