//! The types that values of scripts have.

use std::fmt;
use std::sync::Arc;

use synscope_btf::{Btf, TypeId};

use crate::settings::StackMode;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Not known: nothing was assigned yet, or what is wrong was said already.
    Unknown,
    /// Nothing: a call for its effect.
    None,
    /// An integer.
    Int {
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// Whether it may be negative.
        signed: bool,
    },
    /// An integer with names for some of its values.
    Enum(Enumeration),
    /// `true` or `false`.
    Bool,
    /// Text of at most so many bytes, the zero behind it included; all bytes behind the text are zero.
    Text(u32),
    /// Bytes that need not be text: their number, and room for so many.
    Bytes(u32),
    /// The address of a value.
    Pointer {
        /// What lies there.
        to: Box<Type>,
        /// How it is read.
        access: Access,
    },
    /// A struct or union in the kernel's memory.
    Record(Record),
    /// So many values in a row in the kernel's memory.
    Array(Box<Type>, u32),
    /// Values side by side.
    Tuple(Vec<Type>),
    /// A stack, known by the number under which it is kept.
    Stack(Space, Frames),
    /// An address in code, shown by name.
    Symbol(Space),
    /// An IPv4 or IPv6 address.
    Address,
    /// A hardware address.
    Mac,
    /// A point in time, shown in this format.
    Time(String),
    /// The number of an error, shown by what the C library says of it.
    Error,
}

/// What is shown of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// How many, at most.
    pub depth: u32,
    /// How they are written.
    pub mode: StackMode,
}

/// Whose memory or code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The kernel's.
    Kernel,
    /// The process'.
    User,
}

/// How what a pointer points to is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// By a load: the verifier knows the pointer's type.
    Direct,
    /// By a helper that reads the kernel's memory.
    Kernel,
    /// By a helper that reads the process' memory.
    User,
}

/// A struct or union of the kernel.
#[derive(Debug, Clone)]
pub struct Record {
    /// The types that it is one of.
    pub btf: Arc<Btf>,
    /// Which one.
    pub id: TypeId,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.btf.module_name() == other.btf.module_name()
    }
}

impl Eq for Record {}

/// An enumeration of the kernel or of the script.
#[derive(Debug, Clone)]
pub struct Enumeration {
    /// The types that it is one of.
    pub btf: Arc<Btf>,
    /// Which one.
    pub id: TypeId,
    /// Bytes: 4 or 8, seldom fewer.
    pub size: u8,
    /// Whether it may be negative.
    pub signed: bool,
}

impl PartialEq for Enumeration {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.btf.module_name() == other.btf.module_name()
    }
}

impl Eq for Enumeration {}

impl Enumeration {
    /// The name of a value, if it has one.
    pub fn name(&self, number: i64) -> Option<&str> {
        let number = if self.signed { number.into() } else { i128::from(number.cast_unsigned()) };
        let value = self.btf.enum_values(self.id).into_iter().flatten().find(|value| value.value == number)?;
        Some(value.name)
    }
}

impl Type {
    /// A signed integer of 64 bits.
    pub const INT64: Type = Type::Int { size: 8, signed: true };
    /// An unsigned integer of 64 bits.
    pub const UINT64: Type = Type::Int { size: 8, signed: false };
    /// An unsigned integer of 32 bits.
    pub const UINT32: Type = Type::Int { size: 4, signed: false };

    /// A pointer that helpers read through.
    pub fn pointer(to: Type) -> Type {
        Type::Pointer { to: Box::new(to), access: Access::Kernel }
    }

    /// Whether it is one number for the machine.
    pub fn is_number(&self) -> bool {
        matches!(
            self,
            Type::Unknown
                | Type::Int { .. }
                | Type::Enum(_)
                | Type::Bool
                | Type::Pointer { .. }
                | Type::Stack(Space::Kernel, _)
                | Type::Symbol(Space::Kernel)
                | Type::Time(_)
                | Type::Error
        )
    }

    /// Whether arithmetic and comparisons take it.
    pub fn is_integral(&self) -> bool {
        matches!(self, Type::Int { .. } | Type::Enum(_) | Type::Bool | Type::Pointer { .. })
    }

    /// Whether it may be negative.
    pub fn is_signed(&self) -> bool {
        matches!(self, Type::Int { signed: true, .. } | Type::Enum(Enumeration { signed: true, .. }))
    }

    /// The same without names for values.
    #[must_use]
    pub fn nameless(&self) -> Type {
        match self {
            Type::Enum(Enumeration { size, signed, .. }) => Type::Int { size: *size, signed: *signed },
            other => other.clone(),
        }
    }

    /// Bytes that a value takes in keys, tuples, maps and output: always a multiple of eight.
    pub fn room(&self) -> u32 {
        match self {
            Type::Unknown | Type::None => 0,
            Type::Int { .. }
            | Type::Enum(_)
            | Type::Bool
            | Type::Pointer { .. }
            | Type::Mac
            | Type::Stack(Space::Kernel, _)
            | Type::Symbol(Space::Kernel)
            | Type::Time(_)
            | Type::Error => 8,
            // The process goes with it.
            Type::Stack(Space::User, _) | Type::Symbol(Space::User) => 16,
            Type::Text(size) => size.next_multiple_of(8),
            Type::Bytes(size) => 8 + size.next_multiple_of(8),
            Type::Record(Record { btf, id }) => btf.size_of(*id).unwrap_or(0).next_multiple_of(8),
            Type::Array(..) => self.size().next_multiple_of(8),
            Type::Tuple(items) => items.iter().map(Type::room).sum(),
            // The family, and the longer kind of address.
            Type::Address => 24,
        }
    }

    /// Bytes that a value takes in the kernel's memory.
    pub fn size(&self) -> u32 {
        match self {
            Type::Int { size, .. } | Type::Enum(Enumeration { size, .. }) => u32::from(*size),
            Type::Bool => 1,
            Type::Text(size) => *size,
            Type::Array(element, length) => element.size().saturating_mul(*length),
            Type::Record(Record { btf, id }) => btf.size_of(*id).unwrap_or(0),
            Type::Mac => 6,
            other => other.room(),
        }
    }

    /// The type that holds what both hold, if there is one.
    pub fn join(&self, other: &Type) -> Option<Type> {
        match (self, other) {
            (Type::Unknown, known) | (known, Type::Unknown) => Some(known.clone()),
            (Type::Int { size: a, signed: x }, Type::Int { size: b, signed: y }) => {
                Some(Type::Int { size: *a.max(b), signed: *x || *y })
            }
            (Type::Enum(a), Type::Enum(b)) if a == b => Some(self.clone()),
            (Type::Enum(_), Type::Enum(_) | Type::Int { .. }) | (Type::Int { .. }, Type::Enum(_)) => {
                self.nameless().join(&other.nameless())
            }
            (Type::Text(a), Type::Text(b)) => Some(Type::Text(*a.max(b))),
            (Type::Bytes(a), Type::Bytes(b)) => Some(Type::Bytes(*a.max(b))),
            (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
                a.iter().zip(b).map(|(a, b)| a.join(b)).collect::<Option<_>>().map(Type::Tuple)
            }
            (Type::Pointer { to: a, access: x }, Type::Pointer { to: b, access: y }) if a == b => {
                let access = if x == y { *x } else { Access::Kernel };
                Some(Type::Pointer { to: a.clone(), access })
            }
            (a, b) if a == b => Some(a.clone()),
            _ => None,
        }
    }

    /// The type that a value has once it was in memory: the verifier has forgotten where pointers come from.
    #[must_use]
    pub fn stored(&self) -> Type {
        match self {
            Type::Pointer { to, access: Access::Direct } => Type::Pointer { to: to.clone(), access: Access::Kernel },
            Type::Tuple(items) => Type::Tuple(items.iter().map(Type::stored).collect()),
            other => other.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Unknown => out.write_str("unknown"),
            Type::None => out.write_str("none"),
            Type::Int { size, signed } => write!(out, "{}int{}", if *signed { "" } else { "u" }, size * 8),
            Type::Bool => out.write_str("bool"),
            Type::Text(size) => write!(out, "string[{size}]"),
            Type::Bytes(size) => write!(out, "buffer[{size}]"),
            Type::Pointer { to, .. } if **to == Type::None => out.write_str("void *"),
            Type::Pointer { to, .. } => write!(out, "{to} *"),
            Type::Record(Record { btf, id }) => {
                out.write_str(&btf.type_name(*id).unwrap_or_else(|_| "struct".to_owned()))
            }
            Type::Enum(Enumeration { btf, id, .. }) => {
                out.write_str(&btf.type_name(*id).unwrap_or_else(|_| "enum".to_owned()))
            }
            Type::Array(element, length) => write!(out, "{element}[{length}]"),
            Type::Tuple(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(out, "({})", items.join(","))
            }
            Type::Stack(Space::Kernel, _) => out.write_str("kstack_t"),
            Type::Stack(Space::User, _) => out.write_str("ustack_t"),
            Type::Symbol(Space::Kernel) => out.write_str("ksym_t"),
            Type::Symbol(Space::User) => out.write_str("usym_t"),
            Type::Address => out.write_str("inet"),
            Type::Mac => out.write_str("macaddr_t"),
            Type::Time(_) => out.write_str("timestamp"),
            Type::Error => out.write_str("strerror_t"),
        }
    }
}

/// What a map gathers instead of single values; each CPU gathers for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// How often.
    Count,
    /// The sum.
    Sum {
        /// Whether values may be negative.
        signed: bool,
    },
    /// The average.
    Average {
        /// Whether values may be negative.
        signed: bool,
    },
    /// The smallest value.
    Min {
        /// Whether values may be negative.
        signed: bool,
    },
    /// The largest value.
    Max {
        /// Whether values may be negative.
        signed: bool,
    },
    /// Count, average and sum.
    Stats {
        /// Whether values may be negative.
        signed: bool,
    },
    /// How many values lie between powers of two, each of these ranges cut in `1 << bits` equal parts.
    Log2 {
        /// 0 to 5.
        bits: u8,
    },
    /// How many values lie in ranges of equal width.
    Linear {
        /// Where the first range begins.
        min: i64,
        /// Where the last range ends.
        max: i64,
        /// The width of a range.
        step: i64,
    },
    /// A value for each of the last intervals of time.
    Series(Series),
}

/// A series of values over time, which forgets the oldest interval when a new one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Nanoseconds of an interval; intervals are counted since 1970.
    pub interval: u64,
    /// How many intervals are kept.
    pub intervals: u32,
    /// What becomes of several values in one interval.
    pub each: Each,
    /// Whether values may be negative.
    pub signed: bool,
}

/// What becomes of several values in one interval of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// The last one stays.
    Last,
    /// They are added up.
    Sum,
    /// Their average.
    Average,
    /// The smallest stays.
    Min,
    /// The largest stays.
    Max,
}

impl Each {
    /// By the word that scripts write for it.
    pub fn named(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"avg" => Self::Average,
            b"max" => Self::Max,
            b"min" => Self::Min,
            b"sum" => Self::Sum,
            _ => return None,
        })
    }
}

impl Aggregate {
    /// Its name as a type.
    pub fn name(self) -> &'static str {
        match self {
            Aggregate::Count => "count_t",
            Aggregate::Sum { signed: true } => "sum_t",
            Aggregate::Sum { signed: false } => "usum_t",
            Aggregate::Average { signed: true } => "avg_t",
            Aggregate::Average { signed: false } => "uavg_t",
            Aggregate::Min { signed: true } => "min_t",
            Aggregate::Min { signed: false } => "umin_t",
            Aggregate::Max { signed: true } => "max_t",
            Aggregate::Max { signed: false } => "umax_t",
            Aggregate::Stats { signed: true } => "stats_t",
            Aggregate::Stats { signed: false } => "ustats_t",
            Aggregate::Log2 { .. } => "hist_t",
            Aggregate::Linear { .. } => "lhist_t",
            Aggregate::Series(_) => "tseries_t",
        }
    }

    /// Whether it has a value for each of several ranges or intervals.
    pub fn is_parted(self) -> bool {
        matches!(self, Aggregate::Log2 { .. } | Aggregate::Linear { .. } | Aggregate::Series(_))
    }

    /// The type of the number that a value is, put together from all CPUs: none where it is several numbers.
    pub fn total(self) -> Option<Type> {
        match self {
            Aggregate::Count => Some(Type::INT64),
            Aggregate::Sum { signed }
            | Aggregate::Average { signed }
            | Aggregate::Min { signed }
            | Aggregate::Max { signed } => Some(Type::Int { size: 8, signed }),
            Aggregate::Stats { .. } | Aggregate::Log2 { .. } | Aggregate::Linear { .. } | Aggregate::Series(_) => None,
        }
    }

    /// Bytes of a value, on each CPU.
    pub fn room(self) -> u32 {
        match self {
            Aggregate::Count | Aggregate::Sum { .. } | Aggregate::Log2 { .. } | Aggregate::Linear { .. } => 8,
            Aggregate::Series(_) => 24,
            _ => 16,
        }
    }
}
