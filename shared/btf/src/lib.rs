//! The kernel's types: what a function takes, where a member lies, what a number is called.
//!
//! Read from BTF, which the kernel shows under `/sys/kernel/btf`: `vmlinux` for itself, and a file for each module that
//! adds to it. The format is the kernel's `Documentation/bpf/btf.rst`. Nothing is copied out of the file; opening notes
//! where each type begins and checks all that refers to types and names, so that what is read later needs no checks.
//!
//! ```no_run
//! let kernel = synscope_btf::Kernel::running()?;
//! let connect = kernel.find(synscope_btf::Named::Function, "tcp_v4_connect")?;
//! println!("{}", connect.btf.declaration(connect.id)?);
//! let inode = kernel.vmlinux().offset_of("net", "ns.inum")?;
//! # Ok::<(), synscope_btf::BtfError>(())
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod btf;
mod enums;
mod error;
mod find;
mod functions;
mod header;
mod index;
mod kernel;
mod members;
mod pattern;
mod record;
mod render;
mod types;
mod walk;
mod writer;

pub use btf::{Btf, TypeId};
pub use enums::{Constant, Enum, EnumValue, EnumValues};
pub use error::BtfError;
pub use find::Named;
pub use functions::{Function, Linkage, Parameter, Parameters, Prototype};
pub use kernel::{FOLDER, Found, Kernel};
pub use members::{Composite, Field, Member, Members};
pub use pattern::Pattern;
pub use types::{
    Array, DeclTag, Forward, Int, Section, SectionEntries, SectionEntry, Sized, Target, Type, TypeTag, Variable,
};
pub use writer::{NewMember, Writer};
