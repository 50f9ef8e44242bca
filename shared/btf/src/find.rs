//! Types by name.

use std::fmt;

use crate::error::near;
use crate::record::{Kind, Record};
use crate::{Btf, BtfError, TypeId};

/// What is looked for by name: in C, these have names that do not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    /// An integer, such as `unsigned int`, or a floating-point number.
    Number,
    /// A struct that is defined.
    Struct,
    /// A union that is defined.
    Union,
    /// An enumeration.
    Enum,
    /// A typedef.
    Typedef,
    /// A function.
    Function,
    /// A global variable.
    Variable,
}

impl fmt::Display for Named {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Number => "number type",
            Self::Struct => "struct",
            Self::Union => "union",
            Self::Enum => "enum",
            Self::Typedef => "typedef",
            Self::Function => "function",
            Self::Variable => "variable",
        })
    }
}

impl Named {
    const fn is(self, kind: Kind) -> bool {
        match self {
            Self::Number => matches!(kind, Kind::Int | Kind::Float),
            Self::Struct => matches!(kind, Kind::Struct),
            Self::Union => matches!(kind, Kind::Union),
            Self::Enum => matches!(kind, Kind::Enum | Kind::Enum64),
            Self::Typedef => matches!(kind, Kind::Typedef),
            Self::Function => matches!(kind, Kind::Function),
            Self::Variable => matches!(kind, Kind::Variable),
        }
    }
}

impl Btf {
    /// The type of this name, this file's before its base's.
    pub fn lookup(&self, named: Named, name: &str) -> Option<TypeId> {
        self.all(named, name).next()
    }

    /// All types of this name: functions of one name may take different things, and structs of one name may differ.
    pub fn all(&self, named: Named, name: &str) -> impl Iterator<Item = TypeId> {
        let base = self.base().into_iter().flat_map(move |base| base.own(named, name));
        self.own(named, name).chain(base)
    }

    /// The type of this name, or names that are near.
    pub fn find(&self, named: Named, name: &str) -> Result<TypeId, BtfError> {
        self.lookup(named, name).ok_or_else(|| {
            let base = self.base().into_iter().flat_map(|base| base.own_names(named));
            let near = near(name, self.own_names(named).chain(base));
            BtfError::Missing { named, name: name.to_owned(), near }
        })
    }

    /// A struct by its name.
    pub fn find_struct(&self, name: &str) -> Result<TypeId, BtfError> {
        self.find(Named::Struct, name)
    }

    /// A union by its name.
    pub fn find_union(&self, name: &str) -> Result<TypeId, BtfError> {
        self.find(Named::Union, name)
    }

    /// An enumeration by its name.
    pub fn find_enum(&self, name: &str) -> Result<TypeId, BtfError> {
        self.find(Named::Enum, name)
    }

    /// A typedef by its name.
    pub fn find_typedef(&self, name: &str) -> Result<TypeId, BtfError> {
        self.find(Named::Typedef, name)
    }

    /// A number type by its name, such as `unsigned int`.
    pub fn find_number(&self, name: &str) -> Result<TypeId, BtfError> {
        self.find(Named::Number, name)
    }

    /// A function by its name.
    pub fn find_function(&self, name: &str) -> Result<TypeId, BtfError> {
        self.find(Named::Function, name)
    }

    /// All of this kind in this file that have a name, with it, in the file's order.
    pub fn named(&self, named: Named) -> impl Iterator<Item = (&str, TypeId)> {
        let wanted = move |(_, record): &(TypeId, Record<'_>)| record.name != 0 && named.is(record.kind);
        self.records().filter(wanted).map(|(id, record)| (self.name(record.name), id))
    }

    /// The types of this name in this file.
    pub(crate) fn own(&self, named: Named, name: &str) -> impl Iterator<Item = TypeId> {
        let (functions, types) = match named {
            Named::Function => (Some(self.functions_at(name)), None),
            _ => (None, Some(self.types_at(name))),
        };
        let is_it = move |id: &TypeId| {
            self.record(*id)
                .is_some_and(|record| named.is(record.kind) && self.name_bytes(record.name) == name.as_bytes())
        };
        functions.into_iter().flatten().chain(types.into_iter().flatten()).filter(is_it)
    }

    pub(crate) fn own_names(&self, named: Named) -> impl Iterator<Item = &str> {
        self.named(named).map(|(name, _)| name)
    }
}
