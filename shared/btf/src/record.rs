//! One type as the file has it: three words, and more behind them that depend on its kind.

use crate::header::size;

/// Four bytes of the file, not aligned.
pub(crate) type Word = [u8; 4];

/// The number in a word.
pub(crate) const fn number(word: Word) -> u32 {
    u32::from_ne_bytes(word)
}

/// Kinds of types, by the format's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int = 1,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    Prototype,
    Variable,
    Section,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    const ALL: [Self; 19] = [
        Self::Int,
        Self::Pointer,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Forward,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Function,
        Self::Prototype,
        Self::Variable,
        Self::Section,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    /// Words behind a type with so many members, parameters, values or entries.
    const fn words(self, count: usize) -> usize {
        match self {
            Self::Pointer
            | Self::Forward
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Function
            | Self::Float
            | Self::TypeTag => 0,
            Self::Int | Self::Variable | Self::DeclTag => 1,
            Self::Array => 3,
            Self::Struct | Self::Union | Self::Section | Self::Enum64 => count * 3,
            Self::Enum | Self::Prototype => count * 2,
        }
    }
}

/// One type, with what follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// Where its name begins among all names.
    pub(crate) name: u32,
    pub(crate) kind: Kind,
    /// Members, parameters, values or entries; a function's linkage.
    pub(crate) count: u16,
    /// What the flag means depends on the kind: bit fields, signed values, a union that is only declared, an attribute.
    pub(crate) flag: bool,
    /// The type that is referred to, where one is; else a size in bytes.
    pub(crate) word: u32,
    pub(crate) rest: &'a [Word],
}

/// Why no type can be read.
pub(crate) enum Unreadable {
    CutOff,
    UnknownKind(u32),
}

impl<'a> Record<'a> {
    /// The type at the start of these words, and how many words it takes.
    pub(crate) fn read(words: &'a [Word]) -> Result<(Self, usize), Unreadable> {
        let ([name, info, word], rest) = words.split_first_chunk().ok_or(Unreadable::CutOff)?;
        let info = number(*info);
        let kind = (info >> 24) & 0x1f;
        let index = size(kind).wrapping_sub(1);
        let kind = *Kind::ALL.get(index).ok_or(Unreadable::UnknownKind(kind))?;
        let [low, high, ..] = info.to_le_bytes();
        let count = u16::from_le_bytes([low, high]);
        let more = kind.words(usize::from(count));
        let rest = rest.get(..more).ok_or(Unreadable::CutOff)?;
        let record = Self { name: number(*name), kind, count, flag: info >> 31 == 1, word: number(*word), rest };
        Ok((record, 3 + more))
    }

    /// The first word behind the type.
    pub(crate) fn first(&self) -> u32 {
        self.rest.first().copied().map_or(0, number)
    }

    pub(crate) fn pairs(&self) -> &'a [[Word; 2]] {
        self.rest.as_chunks().0
    }

    pub(crate) fn triples(&self) -> &'a [[Word; 3]] {
        self.rest.as_chunks().0
    }

    /// The largest type and the largest name it refers to: if these exist, all do.
    pub(crate) fn largest(&self) -> (u32, u32) {
        let largest = |words: &mut dyn Iterator<Item = Word>| words.map(number).max().unwrap_or(0);
        let (mut id, mut name) = (0, 0);
        match self.kind {
            Kind::Struct | Kind::Union => {
                for [member, kind, _] in self.triples() {
                    (id, name) = (id.max(number(*kind)), name.max(number(*member)));
                }
            }
            Kind::Prototype => {
                id = self.word;
                for [parameter, kind] in self.pairs() {
                    (id, name) = (id.max(number(*kind)), name.max(number(*parameter)));
                }
            }
            Kind::Enum => name = largest(&mut self.pairs().iter().map(|[name, _]| *name)),
            Kind::Enum64 => name = largest(&mut self.triples().iter().map(|[name, ..]| *name)),
            Kind::Section => id = largest(&mut self.triples().iter().map(|[variable, ..]| *variable)),
            Kind::Array => id = largest(&mut self.rest.iter().take(2).copied()),
            Kind::Int | Kind::Float | Kind::Forward => {}
            Kind::Pointer
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Function
            | Kind::Variable
            | Kind::DeclTag
            | Kind::TypeTag => id = self.word,
        }
        (id, name.max(self.name))
    }
}
