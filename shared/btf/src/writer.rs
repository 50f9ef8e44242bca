//! Types in the making, on top of the kernel's own: what a script defines for itself is then looked into like these.

use std::sync::Arc;

use crate::record::Kind;
use crate::{Btf, BtfError, TypeId};

/// Bits behind an offset, where members tell their widths.
const WIDTH_AT: u32 = 24;

/// Types in the making. They may refer to each other, to those they go on from, and to some that are defined later.
#[derive(Debug)]
pub struct Writer {
    base: Arc<Btf>,
    types: Vec<Vec<u32>>,
    names: Vec<u8>,
}

/// A member in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Its name; empty where its own members count as those of what holds it.
    pub name: String,
    /// Its type.
    pub id: TypeId,
    /// Bits from the start.
    pub bit_offset: u32,
    /// Bits of a bit field; 0 for what is none.
    pub bit_size: u32,
}

impl Writer {
    /// Types that go on from these.
    pub fn new(base: Arc<Btf>) -> Self {
        Self { base, types: Vec::new(), names: Vec::new() }
    }

    /// A number for a type that is defined later; until then it is a pointer to nothing.
    pub fn declare(&mut self) -> TypeId {
        self.add("", Kind::Pointer, 0, 0, &[])
    }

    /// An integer of so many bytes.
    pub fn integer(&mut self, name: &str, size: u32, signed: bool) -> TypeId {
        const SIGNED: u32 = 1 << 24;
        self.add(name, Kind::Int, 0, size, &[if signed { SIGNED } else { 0 } | size.saturating_mul(8)])
    }

    /// True or false.
    pub fn boolean(&mut self, name: &str) -> TypeId {
        const BOOL: u32 = 4 << 24;
        self.add(name, Kind::Int, 0, 1, &[BOOL | 8])
    }

    /// A floating-point number of so many bytes.
    pub fn float(&mut self, name: &str, size: u32) -> TypeId {
        self.add(name, Kind::Float, 0, size, &[])
    }

    /// A pointer.
    pub fn pointer(&mut self, to: TypeId) -> TypeId {
        self.add("", Kind::Pointer, 0, to.number(), &[])
    }

    /// So many elements in a row.
    pub fn array(&mut self, element: TypeId, length: u32) -> TypeId {
        // What counts the elements is never looked at.
        self.add("", Kind::Array, 0, 0, &[element.number(), element.number(), length])
    }

    /// Another name for a type.
    pub fn typedef(&mut self, name: &str, of: TypeId) -> TypeId {
        self.add(name, Kind::Typedef, 0, of.number(), &[])
    }

    /// An enumeration of four or eight bytes.
    pub fn enumeration(&mut self, name: &str, size: u32, signed: bool, values: &[(String, i64)]) -> TypeId {
        let kind = if size > 4 { Kind::Enum64 } else { Kind::Enum };
        let mut rest = Vec::new();
        for (name, value) in values {
            rest.push(self.name(name));
            let [low, high] = [*value, *value >> 32].map(|half| u32::try_from(half & i64::from(u32::MAX)).unwrap_or(0));
            rest.push(low);
            if kind == Kind::Enum64 {
                rest.push(high);
            }
        }
        let info = info(kind, values.len(), signed);
        self.add_with(name, info, size, &rest)
    }

    /// A struct or union of so many bytes, under a number that was declared for it.
    pub fn define(&mut self, id: TypeId, union: bool, name: &str, size: u32, members: &[NewMember]) {
        let mut rest = Vec::new();
        for member in members {
            rest.extend([self.name(&member.name), member.id.number(), member.bit_size << WIDTH_AT | member.bit_offset]);
        }
        let info = info(if union { Kind::Union } else { Kind::Struct }, members.len(), true);
        let mut words = vec![self.name(name), info, size];
        words.append(&mut rest);
        let own = id.number().checked_sub(self.base.end()).and_then(|own| usize::try_from(own).ok());
        if let Some(place) = own.and_then(|own| self.types.get_mut(own)) {
            *place = words;
        }
    }

    /// All of them.
    pub fn finish(self) -> Result<Btf, BtfError> {
        /// Magic and version, and the header's length.
        const START: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        let types: Vec<u8> = self.types.into_iter().flatten().flat_map(u32::to_ne_bytes).collect();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut file = START.to_vec();
        for word in [0, length(&types), length(&types), length(&self.names)] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(types);
        file.extend(self.names);
        Btf::parse_split(self.base, file)
    }

    fn add(&mut self, name: &str, kind: Kind, count: usize, word: u32, rest: &[u32]) -> TypeId {
        self.add_with(name, info(kind, count, false), word, rest)
    }

    fn add_with(&mut self, name: &str, info: u32, word: u32, rest: &[u32]) -> TypeId {
        let mut words = vec![self.name(name), info, word];
        words.extend(rest);
        self.types.push(words);
        let own = u32::try_from(self.types.len() - 1).unwrap_or(u32::MAX);
        TypeId::new(self.base.end().saturating_add(own))
    }

    /// Where a name begins among all.
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.base.names_end().saturating_add(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.extend(name.bytes());
        self.names.push(0);
        at
    }
}

/// A type's kind, how many parts it has, and its flag.
fn info(kind: Kind, count: usize, flag: bool) -> u32 {
    u32::from(flag) << 31 | (kind as u32) << 24 | u32::from(u16::try_from(count).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Named;

    /// Types of nothing but a number.
    fn base() -> Arc<Btf> {
        let types: [u32; 4] = [1, 1 << 24, 4, 1 << 24 | 32];
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut file = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        for word in [0_u32, 16, 16, 5] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(types);
        file.extend(b"\0int\0");
        Arc::new(Btf::parse(file).unwrap())
    }

    #[test]
    fn what_is_written_is_read() {
        let base = base();
        let int = base.lookup(Named::Number, "int").unwrap();
        let mut writer = Writer::new(Arc::clone(&base));
        let node = writer.declare();
        let next = writer.pointer(node);
        let row = writer.array(int, 3);
        let member =
            |name: &str, id, bit_offset, bit_size| NewMember { name: name.to_owned(), id, bit_offset, bit_size };
        let members = [
            member("next", next, 0, 0),
            member("row", row, 64, 0),
            member("low", int, 160, 3),
            member("high", int, 163, 29),
        ];
        writer.define(node, false, "node", 24, &members);
        writer.typedef("node_t", node);
        writer.enumeration("small", 4, true, &[("LESS".to_owned(), -1), ("MORE".to_owned(), 1)]);
        writer.enumeration("wide", 8, false, &[("WIDE".to_owned(), 1 << 40)]);
        let own = writer.finish().unwrap();
        let node = own.find_typedef("node_t").unwrap();
        assert_eq!(own.size_of(node).unwrap(), 24);
        let high = own.field(node, "high").unwrap();
        assert_eq!((high.id, high.bit_offset, high.bit_size), (int, 163, Some(29)));
        assert_eq!(own.field(node, "row").unwrap().bit_size, None);
        let text = own.declaration(own.find_struct("node").unwrap()).unwrap();
        for part in ["struct node *next", "int row[3]", "int low: 3;", "int high: 29;"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        let value = |name: &str| own.constant(name).unwrap().value;
        assert_eq!((value("LESS"), value("MORE"), value("WIDE")), (-1, 1, 1 << 40));
        assert_eq!(own.lookup(Named::Number, "int"), Some(int));
    }
}
