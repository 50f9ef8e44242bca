//! Enumerations and their constants.

use std::slice::Iter;

use crate::error::near;
use crate::record::{Kind, Record, Word, number};
use crate::{Btf, BtfError, Type, TypeId};

/// An enumeration.
#[derive(Debug, Clone)]
pub struct Enum<'a> {
    /// Its name; empty if it has none.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    /// Whether a value may be negative. BTF of kernels before 6.0 does not tell: there, -1 reads as 4294967295.
    pub signed: bool,
    /// Its constants.
    pub values: EnumValues<'a>,
}

impl<'a> Enum<'a> {
    pub(crate) fn new(btf: &'a Btf, name: &'a str, record: &Record<'a>) -> Self {
        let words = match record.kind {
            Kind::Enum64 => Words::Three(record.triples().iter()),
            _ => Words::Two(record.pairs().iter()),
        };
        let values = EnumValues { btf, signed: record.flag, words };
        Self { name, size: record.word, signed: record.flag, values }
    }
}

/// A constant of an enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumValue<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, of at most 64 bits with or without a sign.
    pub value: i128,
}

/// A constant, and the enumeration that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constant<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, of at most 64 bits with or without a sign.
    pub value: i128,
    /// The enumeration.
    pub of: TypeId,
}

/// The constants of an enumeration.
#[derive(Debug, Clone)]
pub struct EnumValues<'a> {
    btf: &'a Btf,
    signed: bool,
    words: Words<'a>,
}

#[derive(Debug, Clone)]
enum Words<'a> {
    Two(Iter<'a, [Word; 2]>),
    Three(Iter<'a, [Word; 3]>),
}

impl<'a> Iterator for EnumValues<'a> {
    type Item = EnumValue<'a>;

    fn next(&mut self) -> Option<EnumValue<'a>> {
        let (name, value) = match &mut self.words {
            Words::Two(words) => {
                let [name, value] = words.next()?.map(number);
                (name, if self.signed { value.cast_signed().into() } else { value.into() })
            }
            Words::Three(words) => {
                let [name, low, high] = words.next()?.map(number);
                let value = u64::from(high) << 32 | u64::from(low);
                (name, if self.signed { value.cast_signed().into() } else { value.into() })
            }
        };
        Some(EnumValue { name: self.btf.name(name), value })
    }
}

impl Btf {
    /// The constants of an enumeration, also behind typedefs.
    pub fn enum_values(&self, id: TypeId) -> Result<EnumValues<'_>, BtfError> {
        match self.resolve(id)?.1 {
            Type::Enum(found) => Ok(found.values),
            _ => Err(BtfError::Unlike { of: self.describe(id), wanted: "enumeration" }),
        }
    }

    /// The constant of this name, this file's before its base's, or names that are near.
    pub fn constant(&self, name: &str) -> Result<Constant<'_>, BtfError> {
        self.constants(name).next().ok_or_else(|| {
            let base = self.base().into_iter().flat_map(|base| base.own_constant_names());
            BtfError::NoConstant { name: name.to_owned(), near: near(name, self.own_constant_names().chain(base)) }
        })
    }

    /// All constants of this name: enumerations may use one for different values.
    pub fn constants(&self, name: &str) -> impl Iterator<Item = Constant<'_>> {
        let base = self.base().into_iter().flat_map(move |base| base.own_constants(name));
        self.own_constants(name).chain(base)
    }

    pub(crate) fn own_constants(&self, name: &str) -> impl Iterator<Item = Constant<'_>> {
        self.enums_at(name).filter_map(move |of| {
            let EnumValue { name, value } = self.enum_values(of).ok()?.find(|value| value.name == name)?;
            Some(Constant { name, value, of })
        })
    }

    pub(crate) fn own_constant_names(&self) -> impl Iterator<Item = &str> {
        self.ids().filter_map(|id| self.enum_values(id).ok()).flatten().map(|value| value.name)
    }
}
