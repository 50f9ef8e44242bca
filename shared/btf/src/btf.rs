//! All types of the kernel, or of one of its modules.

use std::ffi::CStr;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::error::near;
use crate::header::{Sections, size};
use crate::index::{Index, Tags};
use crate::kernel::{FOLDER, VMLINUX};
use crate::record::{Record, Unreadable, Word};
use crate::{BtfError, Kernel};

/// Bytes that a type takes on average in the kernels we know, rounded down.
const TYPICAL: usize = 24;

/// The number of a type. A module's types go on from where vmlinux' end, so that the numbers of vmlinux' types mean the
/// same in every module; numbers of different modules are not to be mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u32);

impl TypeId {
    /// `void`, which is not in the file.
    pub const VOID: Self = Self(0);

    /// From the number that the kernel knows it by.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number that the kernel knows it by.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// All types of the kernel, or of one of its modules on top of the kernel's.
#[derive(Debug)]
pub struct Btf {
    file: Vec<u8>,
    types: Range<usize>,
    names: Range<usize>,
    /// Words from the start of the types to each type.
    starts: Vec<u32>,
    /// Number of the first type, and of the first byte of names, that is not the base's.
    first: u32,
    first_name: u32,
    base: Option<Arc<Self>>,
    module: Option<String>,
    pub(crate) types_by_name: OnceLock<Index>,
    pub(crate) functions_by_name: OnceLock<Index>,
    pub(crate) constants_by_name: OnceLock<Index>,
    pub(crate) tags: OnceLock<Tags>,
}

impl Btf {
    /// The running kernel's types.
    pub fn vmlinux() -> Result<Self, BtfError> {
        Self::read(&Path::new(FOLDER).join(VMLINUX))
    }

    /// The types of a file that stands on its own.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        Self::parse(read(path)?).map_err(|source| BtfError::File { path: path.to_owned(), source: Box::new(source) })
    }

    /// Types that stand on their own.
    pub fn parse(file: Vec<u8>) -> Result<Self, BtfError> {
        Self::on(None, None, file)
    }

    /// Types that go on from others.
    pub fn parse_split(base: Arc<Self>, file: Vec<u8>) -> Result<Self, BtfError> {
        Self::on(Some(base), None, file)
    }

    /// The types of a module of the running kernel, whose own types these are.
    pub fn module(self: &Arc<Self>, name: &str) -> Result<Self, BtfError> {
        Self::module_in(self, Path::new(FOLDER), name)
    }

    pub(crate) fn module_in(vmlinux: &Arc<Self>, folder: &Path, name: &str) -> Result<Self, BtfError> {
        // The name may be a foreign script's: it must not lead out of the folder.
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let path = folder.join(name);
        if name.is_empty() || name == VMLINUX || !is_name || !path.exists() {
            let modules = Kernel::module_names(folder)?;
            let near = near(name, modules.iter().map(String::as_str));
            return Err(BtfError::NoModule { name: name.to_owned(), near });
        }
        Self::on(Some(Arc::clone(vmlinux)), Some(name.to_owned()), read(&path)?)
    }

    fn on(base: Option<Arc<Self>>, module: Option<String>, file: Vec<u8>) -> Result<Self, BtfError> {
        let Sections { types, names } = Sections::read(&file)?;
        let text = str::from_utf8(file.get(names.clone()).unwrap_or_default())
            .map_err(|error| damaged(names.start + error.valid_up_to(), "a name is no text"))?;
        let needs_none = base.is_some() && text.is_empty();
        if !needs_none && !text.ends_with('\0') {
            return Err(damaged(names.end, "the last name does not end"));
        }
        let (first, first_name) = base.as_ref().map_or((1, 0), |base| (base.end(), base.names_end()));
        let Scan { starts, largest_id, largest_name } = Scan::of(&file, &types)?;
        let end = |first: u32, count| u32::try_from(count).ok().and_then(|count| first.checked_add(count));
        let end_id = end(first, starts.len()).ok_or(damaged(types.start, "there are too many types"))?;
        let end_name = end(first_name, names.len()).ok_or(damaged(names.start, "there are too many names"))?;
        if largest_id >= end_id {
            return Err(damaged(types.start, "a type is referred to that is none"));
        }
        if largest_name >= end_name {
            return Err(damaged(types.start, "a name lies outside the names"));
        }
        Ok(Self {
            file,
            types,
            names,
            starts,
            first,
            first_name,
            base,
            module,
            types_by_name: OnceLock::new(),
            functions_by_name: OnceLock::new(),
            constants_by_name: OnceLock::new(),
            tags: OnceLock::new(),
        })
    }

    /// The module whose types these are; none for vmlinux.
    pub fn module_name(&self) -> Option<&str> {
        self.module.as_deref()
    }

    /// The types that these go on from; none for vmlinux.
    pub fn base(&self) -> Option<&Arc<Self>> {
        self.base.as_ref()
    }

    /// Types in this file, its base's and `void` not counted.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether this file has no types.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// All types of this file, its base's not among them.
    pub fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (self.first..self.end()).map(TypeId)
    }

    /// This file's types as they are in it.
    pub(crate) fn records(&self) -> impl Iterator<Item = (TypeId, Record<'_>)> {
        self.ids().filter_map(|id| Some((id, self.record(id)?)))
    }

    /// A type as it is in the file; none for `void` and where there is no such type.
    pub(crate) fn record(&self, id: TypeId) -> Option<Record<'_>> {
        let Some(own) = id.0.checked_sub(self.first) else { return self.base.as_ref()?.record(id) };
        let start = *self.starts.get(size(own))?;
        let (record, _) = Record::read(self.words().get(size(start)..)?).ok()?;
        Some(record)
    }

    /// The name at an offset among all names; empty for what is unnamed.
    pub(crate) fn name(&self, offset: u32) -> &str {
        // All names are text: only one that is said to begin within a character is none.
        str::from_utf8(self.name_bytes(offset)).unwrap_or_default()
    }

    pub(crate) fn name_bytes(&self, offset: u32) -> &[u8] {
        let Some(own) = offset.checked_sub(self.first_name) else {
            return self.base.as_ref().map_or(&[], |base| base.name_bytes(offset));
        };
        let text = self.file.get(self.names.clone()).and_then(|names| names.get(size(own)..)).unwrap_or_default();
        CStr::from_bytes_until_nul(text).map_or(&[], CStr::to_bytes)
    }

    fn words(&self) -> &[Word] {
        self.file.get(self.types.clone()).unwrap_or_default().as_chunks().0
    }

    /// The number behind the last type's.
    pub(crate) fn end(&self) -> u32 {
        // Checked when the file was read.
        self.first.saturating_add(u32::try_from(self.starts.len()).unwrap_or(u32::MAX))
    }

    /// The number of the first name behind these.
    pub(crate) fn names_end(&self) -> u32 {
        self.first_name.saturating_add(u32::try_from(self.names.len()).unwrap_or(u32::MAX))
    }
}

/// What one look at all types finds.
struct Scan {
    /// Words from the start of the types to each type.
    starts: Vec<u32>,
    /// The largest type and name that any of them refers to.
    largest_id: u32,
    largest_name: u32,
}

impl Scan {
    fn of(file: &[u8], types: &Range<usize>) -> Result<Self, BtfError> {
        let words = file.get(types.clone()).unwrap_or_default().as_chunks().0;
        let mut scan = Self { starts: Vec::with_capacity(types.len() / TYPICAL), largest_id: 0, largest_name: 0 };
        let mut at = 0;
        while at < words.len() {
            let byte = types.start + at * 4;
            let (record, length) = Record::read(words.get(at..).unwrap_or_default()).map_err(|error| match error {
                Unreadable::CutOff => damaged(byte, "the types end within one"),
                Unreadable::UnknownKind(kind) => BtfError::UnknownKind { kind, at: byte },
            })?;
            let (id, name) = record.largest();
            scan.largest_id = scan.largest_id.max(id);
            scan.largest_name = scan.largest_name.max(name);
            scan.starts.push(u32::try_from(at).map_err(|_too_many| damaged(byte, "there are too many types"))?);
            at += length;
        }
        Ok(scan)
    }
}

pub(crate) const fn damaged(at: usize, what: &'static str) -> BtfError {
    BtfError::Damaged { at, what }
}

fn read(path: &Path) -> Result<Vec<u8>, BtfError> {
    fs::read(path).map_err(|source| BtfError::Read { path: path.to_owned(), source })
}
