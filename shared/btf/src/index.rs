//! Names to numbers, made when first asked for.
//!
//! An index is one sorted list of 64-bit numbers: the upper half is the name's hash, the lower half says where the name
//! is. No name is copied, and names that are alike, by chance or by malice, cost no more than others.

use std::hash::{DefaultHasher, Hasher};

use crate::record::{Kind, number};
use crate::{Btf, TypeId};

/// Names by hash. What has the same name keeps the order of the file.
#[derive(Debug)]
pub(crate) struct Index(Vec<u64>);

impl Index {
    fn new<'a>(names: impl Iterator<Item = (&'a str, u32)>) -> Self {
        let mut entries: Vec<u64> = names.map(|(name, place)| hash(name) | u64::from(place)).collect();
        entries.sort_unstable();
        Self(entries)
    }

    /// Where names with this name's hash are: among them are all that have the name.
    fn places(&self, name: &str) -> impl Iterator<Item = u32> {
        let hash = hash(name);
        let start = self.0.partition_point(|entry| *entry < hash);
        let entries = self.0.get(start..).unwrap_or_default().iter();
        entries.take_while(move |entry| **entry & HASH == hash).map(|entry| lower(*entry))
    }
}

const HASH: u64 = 0xffff_ffff_0000_0000;

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.finish() & HASH
}

fn lower(entry: u64) -> u32 {
    let [a, b, c, d, ..] = entry.to_le_bytes();
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
    /// Functions of this file with this name's hash.
    pub(crate) fn functions_at(&self, name: &str) -> impl Iterator<Item = TypeId> {
        self.functions_by_name.get_or_init(|| self.index(|kind| kind == Kind::Function)).places(name).map(TypeId::new)
    }

    /// Types and variables of this file with this name's hash.
    pub(crate) fn types_at(&self, name: &str) -> impl Iterator<Item = TypeId> {
        let has_name = |kind| !matches!(kind, Kind::Function | Kind::DeclTag | Kind::TypeTag | Kind::Section);
        self.types_by_name.get_or_init(|| self.index(has_name)).places(name).map(TypeId::new)
    }

    /// Enumerations of this file that have a constant with this name's hash.
    pub(crate) fn enums_at(&self, name: &str) -> impl Iterator<Item = TypeId> {
        self.constants_by_name.get_or_init(|| self.index_of_constants()).places(name).map(TypeId::new)
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
        Index::new(named.map(|(id, record)| (self.name(record.name), id.number())))
    }

    fn index_of_constants(&self) -> Index {
        Index::new(self.records().flat_map(|(id, record)| {
            let (pairs, triples) = match record.kind {
                Kind::Enum => (record.pairs(), Default::default()),
                Kind::Enum64 => (Default::default(), record.triples()),
                _ => Default::default(),
            };
            let names = pairs.iter().map(|[name, _]| *name).chain(triples.iter().map(|[name, ..]| *name));
            names.map(move |name| (self.name(number(name)), id.number()))
        }))
    }
}
