//! Writes BTF, a type at a time.

use std::sync::Arc;

use synscope_btf::{Btf, TypeId};

pub(crate) const INT: u32 = 1;
pub(crate) const POINTER: u32 = 2;
pub(crate) const ARRAY: u32 = 3;
pub(crate) const STRUCT: u32 = 4;
pub(crate) const UNION: u32 = 5;
pub(crate) const ENUM: u32 = 6;
pub(crate) const FORWARD: u32 = 7;
pub(crate) const TYPEDEF: u32 = 8;
pub(crate) const VOLATILE: u32 = 9;
pub(crate) const CONST: u32 = 10;
pub(crate) const RESTRICT: u32 = 11;
pub(crate) const FUNCTION: u32 = 12;
pub(crate) const PROTOTYPE: u32 = 13;
pub(crate) const VARIABLE: u32 = 14;
pub(crate) const SECTION: u32 = 15;
pub(crate) const FLOAT: u32 = 16;
pub(crate) const DECL_TAG: u32 = 17;
pub(crate) const TYPE_TAG: u32 = 18;
pub(crate) const ENUM64: u32 = 19;
/// Added to a kind: the flag.
pub(crate) const FLAG: u32 = 1 << 7;

/// Width and offset of a bit field, as a struct with the flag has them.
pub(crate) const fn bits(width: u32, offset: u32) -> u32 {
    width << 24 | offset
}

/// A file being written.
pub(crate) struct Build {
    types: Vec<u32>,
    names: Vec<u8>,
    /// Of the base.
    first_name: u32,
    next: u32,
}

impl Build {
    /// A file of its own: names begin with the empty one.
    pub(crate) fn new() -> Self {
        Self { types: Vec::new(), names: vec![0], first_name: 0, next: 1 }
    }

    /// A file that goes on from another.
    pub(crate) fn on(base: &Self) -> Self {
        let first_name = base.first_name + u32::try_from(base.names.len()).unwrap();
        Self { types: Vec::new(), names: Vec::new(), first_name, next: base.next }
    }

    /// A name's offset; the empty name is at 0.
    pub(crate) fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.first_name + u32::try_from(self.names.len()).unwrap();
        self.names.extend([name.as_bytes(), b"\0"].concat());
        at
    }

    /// Any type: its name, its kind (with the flag), what is counted, its size or target, and the words behind it.
    pub(crate) fn add(&mut self, name: &str, kind: u32, count: usize, word: u32, behind: &[u32]) -> TypeId {
        let name = self.name(name);
        let info = (kind & 0x1f) << 24 | (kind & FLAG) << 24 | u32::try_from(count).unwrap();
        self.types.extend([name, info, word]);
        self.types.extend(behind);
        self.next += 1;
        TypeId::new(self.next - 1)
    }

    pub(crate) fn int(&mut self, name: &str, size: u32) -> TypeId {
        self.add(name, INT, 0, size, &[size * 8])
    }

    /// A type that refers to another and has nothing behind it.
    pub(crate) fn to(&mut self, name: &str, kind: u32, target: TypeId) -> TypeId {
        self.add(name, kind, 0, target.number(), &[])
    }

    pub(crate) fn array(&mut self, element: TypeId, length: u32) -> TypeId {
        self.add("", ARRAY, 0, 0, &[element.number(), 1, length])
    }

    /// A struct or union of members with their offsets in bits.
    pub(crate) fn composite(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        let behind: Vec<_> =
            members.iter().flat_map(|(name, id, offset)| [self.name(name), id.number(), *offset]).collect();
        self.add(name, kind, members.len(), size, &behind)
    }

    /// Also of functions: the parameters' names and types.
    pub(crate) fn prototype(&mut self, returns: TypeId, parameters: &[(&str, TypeId)]) -> TypeId {
        let behind: Vec<_> = parameters.iter().flat_map(|(name, id)| [self.name(name), id.number()]).collect();
        self.add("", PROTOTYPE, parameters.len(), returns.number(), &behind)
    }

    pub(crate) fn function(&mut self, name: &str, returns: TypeId, parameters: &[(&str, TypeId)]) -> TypeId {
        let prototype = self.prototype(returns, parameters);
        self.to(name, FUNCTION, prototype)
    }

    pub(crate) fn enumeration(&mut self, name: &str, kind: u32, values: &[(&str, u64)]) -> TypeId {
        let words = |value: &u64| [u32::try_from(value & 0xffff_ffff).unwrap(), u32::try_from(value >> 32).unwrap()];
        let wide = kind & !FLAG == ENUM64;
        let mut behind = Vec::new();
        for (name, value) in values {
            behind.push(self.name(name));
            behind.extend(words(value).iter().take(if wide { 2 } else { 1 }));
        }
        self.add(name, kind, values.len(), if wide { 8 } else { 4 }, &behind)
    }

    /// The file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let types = u32::try_from(self.types.len() * 4).unwrap();
        // The magic number, version 1, no flags; the rest counts from the header's end.
        let header = [0xeb9f | 1 << 16, 24, 0, types, types, u32::try_from(self.names.len()).unwrap()];
        let words = header.iter().chain(&self.types).flat_map(|word| word.to_ne_bytes());
        words.chain(self.names.iter().copied()).collect()
    }

    pub(crate) fn btf(&self) -> Btf {
        Btf::parse(self.file()).unwrap()
    }

    pub(crate) fn split(&self, base: &Arc<Btf>) -> Btf {
        Btf::parse_split(Arc::clone(base), self.file()).unwrap()
    }
}
