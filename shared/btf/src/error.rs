//! Why types cannot be told.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::{Named, TypeId};

/// Names that are offered in place of one that does not exist.
const NEAR_MAX: usize = 3;
/// Jaro-Winkler similarity from which a name counts as near.
const NEAR: f64 = 0.85;

/// Why types cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file.
    #[error("{}: was the kernel built with CONFIG_DEBUG_INFO_BTF?", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that stands on its own and is none of the format, or no sound one.
    #[error("{} holds no sound types", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// Not the format, or not a sound file of it.
    #[error("the BTF is damaged at byte {at}: {what}")]
    Damaged {
        /// Bytes from the start of the file.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The format has grown, and what follows such a type cannot be skipped.
    #[error("the BTF has a type of kind {kind} at byte {at}, which is not known yet")]
    UnknownKind {
        /// Its number.
        kind: u32,
        /// Bytes from the start of the file.
        at: usize,
    },
    /// No type has this name.
    #[error("this kernel has no {named} `{name}`{}", or_near(near))]
    Missing {
        /// What was looked for.
        named: Named,
        /// By which name.
        name: String,
        /// Names that do exist, the nearest first.
        near: Vec<String>,
    },
    /// No enumeration has such a constant.
    #[error("this kernel has no constant `{name}`{}", or_near(near))]
    NoConstant {
        /// The constant.
        name: String,
        /// Names that do exist, the nearest first.
        near: Vec<String>,
    },
    /// A struct or union without this member.
    #[error("`{of}` has no member `{member}`{}", or_near(near))]
    NoMember {
        /// The struct or union, as C.
        of: String,
        /// What was looked for.
        member: String,
        /// Members that do exist, the nearest first.
        near: Vec<String>,
    },
    /// No module of this name is loaded, or it has no types.
    #[error("no module `{name}` with types is loaded{}", or_near(near))]
    NoModule {
        /// The module.
        name: String,
        /// Modules that do exist, the nearest first.
        near: Vec<String>,
    },
    /// A type that is not of the kind that was asked about.
    #[error("`{of}` is no {wanted}")]
    Unlike {
        /// The type, as C.
        of: String,
        /// What it should be, such as "struct or union".
        wanted: &'static str,
    },
    /// A bit field that begins within a byte was asked for its offset in bytes.
    #[error("`{path}` of `struct {of}` is a bit field: it begins within a byte")]
    WithinByte {
        /// The struct's name.
        of: String,
        /// The member's path.
        path: String,
    },
    /// A type that has no size: `void`, a function, or what is only declared.
    #[error("`{0}` has no size")]
    Unsized(String),
    /// There is no type of this number.
    #[error("there is no type {}", .0.number())]
    NoType(TypeId),
    /// Typedefs, qualifiers, arrays or members within each other without an end.
    #[error("type {} refers to itself, or through too many others", .0.number())]
    Endless(TypeId),
}

/// The nearest of these names.
pub(crate) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut nearest: Vec<(f64, &str)> = Vec::new();
    for known in known {
        let similarity = strsim::jaro_winkler(name, known);
        if similarity < NEAR || nearest.iter().any(|(_, other)| *other == known) {
            continue;
        }
        let at = nearest.partition_point(|(other, _)| *other >= similarity);
        nearest.insert(at, (similarity, known));
        nearest.truncate(NEAR_MAX);
    }
    nearest.into_iter().map(|(_, name)| name.to_owned()).collect()
}

fn or_near(names: &[String]) -> impl fmt::Display {
    match names {
        [] => String::new(),
        [name] => format!("; did you mean `{name}`?"),
        names => format!("; near are `{}`", names.join("`, `")),
    }
}
