//! Names to numbers, made when first asked for.
//!
//! An index is a table of buckets in one list, filled by counting: no name is copied, and making it takes no longer for
//! names that are alike, by chance or by malice, than for others.

use crate::header::size;
use crate::record::{Kind, number};
use crate::{Btf, TypeId};

/// Types by the hash of a name. Those of one name keep the order of the file.
#[derive(Debug)]
pub(crate) struct Index {
    /// Where each bucket begins in the list. One for each value of a hash's upper bits.
    starts: Vec<u32>,
    ids: Vec<TypeId>,
    /// Bits of a hash below those.
    lower: u32,
}

impl Index {
    fn new(hashed: &[(u32, TypeId)]) -> Self {
        let buckets = hashed.len().clamp(2, 1 << 31).next_power_of_two();
        let lower = 32 - buckets.ilog2();
        let bucket = |hash: u32| size(hash >> lower);
        let mut starts = vec![0_u32; buckets];
        for (hash, _) in hashed {
            starts[bucket(*hash)] += 1;
        }
        let mut end = 0;
        for start in &mut starts {
            end += *start;
            *start = end;
        }
        // Each bucket is filled from its end, with the last type first: then it begins where its start is.
        let mut ids = vec![TypeId::VOID; hashed.len()];
        for (hash, id) in hashed.iter().rev() {
            let start = &mut starts[bucket(*hash)];
            *start -= 1;
            ids[size(*start)] = *id;
        }
        Self { starts, ids, lower }
    }

    /// Types that may have this name: among them are all that have it.
    fn candidates(&self, name: &str) -> impl Iterator<Item = TypeId> {
        let bucket = size(hash(name.as_bytes()) >> self.lower);
        let start = self.starts.get(bucket).copied().map_or(0, size);
        let end = self.starts.get(bucket + 1).copied().map_or(self.ids.len(), size);
        self.ids.get(start..end).unwrap_or_default().iter().copied()
    }
}

/// Eight bytes at a time, as rustc's own tables do (`FxHash`): indexes are made while somebody waits.
fn hash(name: &[u8]) -> u32 {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let (words, rest) = name.as_chunks();
    let last = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_ne_bytes(*word)).chain([last]);
    let mixed = words.fold(0_u64, |mixed, word| (mixed.rotate_left(5) ^ word).wrapping_mul(FACTOR));
    let [.., a, b, c, d] = mixed.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Marks by the type that has them.
#[derive(Debug)]
pub(crate) struct Tags(Vec<(TypeId, TypeId)>);

impl Tags {
    /// The marks on a type.
    pub(crate) fn of(&self, id: TypeId) -> impl Iterator<Item = TypeId> {
        let start = self.0.partition_point(|(target, _)| *target < id);
        self.0.get(start..).unwrap_or_default().iter().take_while(move |(target, _)| *target == id).map(|(_, tag)| *tag)
    }
}

impl Btf {
    /// Functions of this file that may have this name.
    pub(crate) fn functions_at(&self, name: &str) -> impl Iterator<Item = TypeId> {
        self.functions_by_name.get_or_init(|| self.index(|kind| kind == Kind::Function)).candidates(name)
    }

    /// Types and variables of this file that may have this name.
    pub(crate) fn types_at(&self, name: &str) -> impl Iterator<Item = TypeId> {
        let has_name = |kind| !matches!(kind, Kind::Function | Kind::DeclTag | Kind::TypeTag | Kind::Section);
        self.types_by_name.get_or_init(|| self.index(has_name)).candidates(name)
    }

    /// Enumerations of this file that may have a constant of this name.
    pub(crate) fn enums_at(&self, name: &str) -> impl Iterator<Item = TypeId> {
        self.constants_by_name.get_or_init(|| self.index_of_constants()).candidates(name)
    }

    /// Marks of this file.
    pub(crate) fn tags(&self) -> &Tags {
        self.tags.get_or_init(|| {
            let tags = self.records().filter(|(_, record)| record.kind == Kind::DeclTag);
            let mut tags: Vec<_> = tags.map(|(id, record)| (TypeId::new(record.word), id)).collect();
            tags.sort_unstable();
            Tags(tags)
        })
    }

    fn index(&self, wanted: impl Fn(Kind) -> bool) -> Index {
        let named = self.records().filter(|(_, record)| record.name != 0 && wanted(record.kind));
        Index::new(&named.map(|(id, record)| (hash(self.name_bytes(record.name)), id)).collect::<Vec<_>>())
    }

    fn index_of_constants(&self) -> Index {
        let mut hashed = Vec::new();
        for (id, record) in self.records() {
            let mut add = |name| hashed.push((hash(self.name_bytes(number(name))), id));
            match record.kind {
                Kind::Enum => record.pairs().iter().for_each(|[name, _]| add(*name)),
                Kind::Enum64 => record.triples().iter().for_each(|[name, ..]| add(*name)),
                _ => {}
            }
        }
        Index::new(&hashed)
    }
}
