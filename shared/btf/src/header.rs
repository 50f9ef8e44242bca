//! Where a file's types and names lie.

use std::ops::Range;

use crate::BtfError;
use crate::btf::damaged;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Magic (2 bytes), version, flags, the header's length, and offset and length of types and of names (4 bytes each).
/// A longer header is a newer kernel's; offsets count from its end.
const LENGTH: usize = 24;

/// Bytes of a file.
pub(crate) struct Sections {
    pub(crate) types: Range<usize>,
    pub(crate) names: Range<usize>,
}

impl Sections {
    pub(crate) fn read(file: &[u8]) -> Result<Self, BtfError> {
        let header = file.first_chunk::<LENGTH>().ok_or(damaged(file.len(), "it ends within the header"))?;
        let magic = u16::from_ne_bytes([header[0], header[1]]);
        if magic == MAGIC.swap_bytes() {
            return Err(damaged(0, "it is of a machine with the other byte order"));
        }
        if magic != MAGIC {
            return Err(damaged(0, "it does not begin with BTF's magic number"));
        }
        if header[2] != VERSION {
            return Err(damaged(2, "its version is not 1"));
        }
        let word = |at: usize| size(u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        let length = word(4);
        if length < LENGTH {
            return Err(damaged(4, "its header is too short"));
        }
        let section = |at| {
            let start = length.checked_add(word(at))?;
            let end = start.checked_add(word(at + 4))?;
            (end <= file.len()).then_some(start..end)
        };
        let types = section(8).ok_or(damaged(8, "its types lie outside the file"))?;
        let names = section(16).ok_or(damaged(16, "its names lie outside the file"))?;
        if types.len() % 4 != 0 {
            return Err(damaged(12, "its types are no whole number of words"));
        }
        Ok(Self { types, names })
    }
}

/// A number of the format as a length. A `usize` has at least 32 bits wherever this runs.
pub(crate) fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
