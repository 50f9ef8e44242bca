//! The running kernel's types: where a member lies, and what an enum's numbers are called.
//!
//! The format is described in the kernel's `Documentation/bpf/btf.rst`; sizes of what follows each type are from there.

use std::path::Path;

/// Where the kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
const TYPE: usize = 12;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_ENUM64: u32 = 19;
/// Typedefs, and members within members, that are followed: a loop in a damaged file ends here.
const DEPTH_MAX: usize = 16;
/// Members that are looked at to find one, those of unnamed members included: without a bound, a damaged struct that
/// holds itself twice would be looked at for ever. The kernel's largest structs have some 300.
const MEMBERS_MAX: usize = 4096;

/// Why types cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file.
    #[error("{VMLINUX}: was the kernel built with CONFIG_DEBUG_INFO_BTF?")]
    Read(#[from] std::io::Error),
    /// Not the format.
    #[error("the kernel's BTF is damaged at byte {0}")]
    Damaged(usize),
    /// A type or member that this kernel does not have.
    #[error("this kernel has no {0}")]
    Missing(String),
}

/// One type, with what follows it.
#[derive(Debug, Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    count: usize,
    flag: bool,
    /// The type that is referred to, where one is; else a size.
    target: u32,
    rest: usize,
}

/// All types of a kernel.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    types: Vec<Type>,
}

impl Btf {
    /// The running kernel's.
    pub fn vmlinux() -> Result<Self, BtfError> {
        Self::parse(std::fs::read(Path::new(VMLINUX))?)
    }

    /// Reads the format.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at| u32_at(&data, at);
        if u16_at(&data, 0)? != MAGIC {
            return Err(BtfError::Damaged(0));
        }
        let header = size(word(4)?);
        let (types_at, types_length) = (header + size(word(8)?), size(word(12)?));
        let strings = header + size(word(16)?);
        if header < HEADER || types_at + types_length > data.len() || strings > data.len() {
            return Err(BtfError::Damaged(4));
        }
        let mut types = Vec::new();
        let mut at = types_at;
        while at < types_at + types_length {
            let info = word(at + 4)?;
            let (kind, count) = ((info >> 24) & 0x1f, size(info & 0xffff));
            types.push(Type {
                name: word(at)?,
                kind,
                count,
                flag: info >> 31 == 1,
                target: word(at + 8)?,
                rest: at + TYPE,
            });
            at += TYPE + following(kind, count).ok_or(BtfError::Damaged(at))?;
        }
        Ok(Self { data, strings, types })
    }

    /// Offset in bytes of a member, by its path, such as `["ns", "inum"]` in `net`. Members of unnamed structs and
    /// unions count as their parent's. A bit field has no offset in bytes unless it begins at one.
    pub fn offset(&self, structure: &str, path: &[&str]) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing(format!("{structure}.{}", path.join(".")));
        let is_it = |known: &&Type| known.kind == KIND_STRUCT && self.name(known.name) == structure.as_bytes();
        let mut of = self.types.iter().find(is_it).copied();
        let mut bits = 0;
        for member in path {
            let parent = of.ok_or_else(missing)?;
            let mut left = MEMBERS_MAX;
            let (offset, kind) = self.member(&parent, member, 0, &mut left).ok_or_else(missing)?;
            bits += offset;
            of = self.resolved(kind);
        }
        if of.is_none() || bits % 8 != 0 {
            return Err(missing());
        }
        u32::try_from(bits / 8).map_err(|_too_large| missing())
    }

    /// The numbers and names of an enum.
    pub fn enumeration(&self, name: &str) -> Result<Vec<(u32, String)>, BtfError> {
        let of = self
            .types
            .iter()
            .find(|known| matches!(known.kind, KIND_ENUM | KIND_ENUM64) && self.name(known.name) == name.as_bytes())
            .ok_or_else(|| BtfError::Missing(format!("enum {name}")))?;
        let step = if of.kind == KIND_ENUM { 8 } else { 12 };
        let value = |index: usize| {
            let at = of.rest + index * step;
            let text = self.name(u32_at(&self.data, at)?);
            Ok((u32_at(&self.data, at + 4)?, String::from_utf8_lossy(text).into_owned()))
        };
        (0..of.count).map(value).collect()
    }

    /// Offset in bits, and type, of a member, also inside unnamed members.
    fn member(&self, of: &Type, wanted: &str, depth: usize, left: &mut usize) -> Option<(u64, u32)> {
        if depth > DEPTH_MAX || !matches!(of.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..of.count {
            *left = left.checked_sub(1)?;
            let at = of.rest + index * 12;
            let [name, kind, offset] = [at, at + 4, at + 8].map(|at| u32_at(&self.data, at).unwrap_or(0));
            // With the flag, the upper eight bits are a bit field's width.
            let bits = u64::from(if of.flag { offset & 0x00ff_ffff } else { offset });
            if name != 0 && self.name(name) == wanted.as_bytes() {
                return Some((bits, kind));
            }
            if name == 0 {
                let inner = self.resolved(kind).and_then(|inner| self.member(&inner, wanted, depth + 1, left));
                if let Some((inner_bits, kind)) = inner {
                    return Some((bits + inner_bits, kind));
                }
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers. Types are numbered from 1.
    fn resolved(&self, id: u32) -> Option<Type> {
        const TYPEDEF_AND_QUALIFIERS: [u32; 5] = [8, 9, 10, 11, 18];
        let mut found = *self.types.get(size(id).checked_sub(1)?)?;
        for _step in 0..DEPTH_MAX {
            if !TYPEDEF_AND_QUALIFIERS.contains(&found.kind) {
                return Some(found);
            }
            found = *self.types.get(size(found.target).checked_sub(1)?)?;
        }
        None
    }

    fn name(&self, offset: u32) -> &[u8] {
        let text = self.data.get(self.strings + size(offset)..).unwrap_or_default();
        text.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Bytes behind a type of this kind.
const fn following(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats and type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables and declaration tags.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structs, unions, sections and 64-bit enums.
        KIND_STRUCT | KIND_UNION | 15 | KIND_ENUM64 => count * 12,
        // Enums and function prototypes.
        KIND_ENUM | 13 => count * 8,
        _ => return None,
    })
}

fn size(number: u32) -> usize {
    // A usize has at least 32 bits wherever this runs.
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk()).ok_or(BtfError::Damaged(at))?;
    Ok(u32::from_le_bytes(*bytes))
}

fn u16_at(data: &[u8], at: usize) -> Result<u16, BtfError> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk()).ok_or(BtfError::Damaged(at))?;
    Ok(u16::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_running_kernel_is_read() {
        let btf = Btf::vmlinux().unwrap();
        assert_eq!(btf.offset("list_head", &["prev"]).unwrap(), 8);
        assert_eq!(btf.offset("iphdr", &["daddr"]).unwrap(), 16, "within an unnamed union");
        assert_eq!(btf.offset("sock", &["__sk_common", "skc_daddr"]).unwrap(), 0);
        let verdicts = btf.enumeration("bpf_map_type").unwrap();
        assert!(verdicts.contains(&(1, "BPF_MAP_TYPE_HASH".to_owned())));
        let missing = btf.offset("sock", &["no_such_member"]).unwrap_err();
        assert_eq!(missing.to_string(), "this kernel has no sock.no_such_member");
    }

    /// `struct net { u32 :5 bits, a:3; struct { struct ns { u32 inum @ 4 bytes } typedef'd as "t" } @ 8 bytes }`,
    /// `enum x { one = 1 }`, and a struct that holds itself twice without a name.
    fn small() -> Vec<u8> {
        const NAMES: &[u8] = b"\0net\0a\0ns\0inum\0t\0x\0one\0loop\0";
        let at = |name: &[u8]| {
            let found = NAMES.windows(name.len() + 2).position(|part| part == [b"\0", name, b"\0"].concat());
            u32::try_from(found.unwrap() + 1).unwrap()
        };
        let (structure, fields) = (KIND_STRUCT << 24, 1 << 31);
        let types: Vec<u32> = [
            // 1: the integer.
            vec![at(b"t"), 1 << 24, 4, 32],
            // 2: the inner struct, 3: its typedef.
            vec![at(b"ns"), structure | 1, 8, at(b"inum"), 1, 32],
            vec![at(b"t"), 8 << 24, 2],
            // 4: an unnamed struct around it, 5: the outer one, with bit fields.
            vec![0, structure | 1, 8, at(b"ns"), 3, 0],
            vec![at(b"net"), structure | fields | 2, 16, at(b"a"), 1, 3 << 24 | 5, 0, 4, 64],
            // 6, 7.
            vec![at(b"x"), KIND_ENUM << 24 | 1, 4, at(b"one"), 1],
            vec![at(b"loop"), structure | 2, 8, 0, 7, 0, 0, 7, 0],
        ]
        .concat();
        let length = u32::try_from(types.len() * 4).unwrap();
        let header = [u32::from(MAGIC) | 1 << 16, 24, 0, length, length, u32::try_from(NAMES.len()).unwrap()];
        let words = header.into_iter().chain(types).flat_map(u32::to_le_bytes);
        words.chain(NAMES.iter().copied()).collect()
    }

    #[test]
    fn members_are_found_through_unnamed_structs_and_typedefs() {
        let btf = Btf::parse(small()).unwrap();
        assert_eq!(btf.offset("net", &["ns", "inum"]).unwrap(), 12);
        assert_eq!(btf.enumeration("x").unwrap(), [(1, "one".to_owned())]);
        assert!(btf.offset("net", &["a"]).is_err(), "it begins in the middle of a byte");
        assert!(btf.offset("net", &["ns", "inum", "more"]).is_err(), "an integer has no members");
        assert!(btf.offset("loop", &["inum"]).is_err(), "and comes back");
    }

    fn ask_everything(data: Vec<u8>) {
        if let Ok(btf) = Btf::parse(data) {
            for structure in ["net", "ns", "loop", ""] {
                let _any_answer = btf.offset(structure, &["ns", "inum"]);
            }
            let _any_answer = btf.enumeration("x");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
            ask_everything(data);
        }

        #[test]
        fn any_damage_is_no_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let mut data = small();
            for (at, byte) in damage {
                let at = at.index(data.len());
                data[at] = byte;
            }
            ask_everything(data);
        }

        #[test]
        fn any_length_is_no_panic(length in 0..small().len()) {
            let mut data = small();
            data.truncate(length);
            ask_everything(data);
        }
    }
}
