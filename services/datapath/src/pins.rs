//! Maps that outlive the process: where they are pinned, and whether what is pinned there may be adopted.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::maps::{ArrayOfMaps, MapData, MapError, MapInfo, MapType};
use synscope_abi::flow::{Flow, FlowKey, Pending, PendingKey};
use synscope_abi::settings::{CURRENT, Settings, TABLE_SLOTS};
use synscope_abi::{ABI_VERSION, EVENT_RING_BYTES, NO_PREALLOC, PENDING_ENTRIES, counter};

use crate::batch;

/// What a map is like.
#[derive(Clone, Copy)]
struct Shape {
    kind: MapType,
    key: usize,
    value: usize,
    /// None where it may be any.
    entries: Option<usize>,
    flags: u32,
}

const fn shape<K, V>(kind: MapType, entries: usize) -> Shape {
    Shape { kind, key: size_of::<K>(), value: size_of::<V>(), entries: Some(entries), flags: 0 }
}

const fn table<const N: usize>() -> Shape {
    let (key, value) = (size_of::<FlowKey<N>>(), size_of::<Flow>());
    Shape { kind: MapType::Hash, key, value, entries: None, flags: NO_PREALLOC }
}

const fn pending<const N: usize>() -> Shape {
    Shape { flags: NO_PREALLOC, ..shape::<PendingKey<N>, Pending>(MapType::Hash, PENDING_ENTRIES) }
}

/// A map that is pinned, and for slots of tables what is in them.
struct Pinned {
    name: &'static str,
    shape: Shape,
    table: Option<Shape>,
}

impl Pinned {
    const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, table: None }
    }

    const fn slots(name: &'static str, table: Shape) -> Self {
        let shape = shape::<u32, u32>(MapType::ArrayOfMaps, TABLE_SLOTS as usize);
        Self { name, shape, table: Some(table) }
    }
}

/// In the order they are checked. The event ring is among them: what a dead process did not read yet is read by the next
/// one.
const PINNED: [Pinned; 7] = [
    Pinned::new("SETTINGS", shape::<u32, Settings>(MapType::Array, 1)),
    Pinned::slots("FLOWS_V4", table::<4>()),
    Pinned::slots("FLOWS_V6", table::<16>()),
    Pinned::new("PENDING_V4", pending::<4>()),
    Pinned::new("PENDING_V6", pending::<16>()),
    Pinned::new("COUNTS", shape::<u32, u64>(MapType::PerCpuArray, counter::COUNTERS)),
    Pinned::new("EVENTS", shape::<(), ()>(MapType::RingBuf, EVENT_RING_BYTES)),
];

/// Why pinned state is not adopted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The folder cannot be made or read.
    #[error("{path}: is bpffs mounted there?")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pinned map cannot be opened.
    #[error("pinned map {path} cannot be opened")]
    Open {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        source: MapError,
    },
    /// A pinned map cannot be read.
    #[error("pinned map {path} cannot be read")]
    Read {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The pins are another version's.
    #[error(
        "{folder} holds maps of ABI version {found}, this program speaks {ABI_VERSION}: run the version that made them, or remove that folder and lose its connections"
    )]
    Version {
        /// The folder.
        folder: PathBuf,
        /// Version found in the settings map.
        found: u32,
    },
    /// A pin of our name is another kind of map.
    #[error("{path} is not the map this program made: its {what} is {found}, expected {expected}")]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// Which property differs.
        what: &'static str,
        /// Its value there.
        found: usize,
        /// Its value here.
        expected: usize,
    },
}

/// Makes the folder, checks what is pinned there already, and tells where each map is to be pinned.
pub fn prepare(folder: &Path) -> Result<Vec<(&'static str, PathBuf)>, PinError> {
    fs::create_dir_all(folder).map_err(|source| PinError::Folder { path: folder.to_owned(), source })?;
    for pinned in PINNED {
        let path = folder.join(pinned.name);
        if path.exists() {
            check(folder, &pinned, &path)?;
        }
    }
    Ok(PINNED.map(|pinned| (pinned.name, folder.join(pinned.name))).into())
}

/// Removes all that is pinned in the folder, and the folder: programs come off their interfaces, tables are forgotten.
/// Nothing there is no error.
pub fn remove(folder: &Path) -> Result<(), PinError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PinError::Folder { path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn check(folder: &Path, pinned: &Pinned, path: &Path) -> Result<(), PinError> {
    let open = |source| PinError::Open { path: path.to_owned(), source };
    let info = MapInfo::from_pin(path).map_err(open)?;
    if pinned.name == "SETTINGS" && matches!(info.map_type(), Ok(MapType::Array)) {
        // The version comes first in settings of any version, and says more than their size.
        let value = batch::only_value(&info).map_err(|source| PinError::Read { path: path.to_owned(), source })?;
        let version = value.first_chunk().map_or(0, |version| u32::from_ne_bytes(*version));
        // Zero: the process that made it died before it wrote its settings.
        if version != ABI_VERSION && version != 0 {
            return Err(PinError::Version { folder: folder.to_owned(), found: version });
        }
    }
    pinned.shape.expect(path, &info)?;
    if let Some(table) = pinned.table {
        let map = aya::maps::Map::ArrayOfMaps(MapData::from_pin(path).map_err(open)?);
        let slots: ArrayOfMaps<_, MapData> = ArrayOfMaps::try_from(map).map_err(open)?;
        match slots.get(&CURRENT, 0) {
            Ok(current) => table.expect(path, &current.info().map_err(open)?)?,
            // The process that made it died before it put one in.
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(open(error)),
        }
    }
    Ok(())
}

impl Shape {
    fn expect(&self, path: &Path, found: &MapInfo) -> Result<(), PinError> {
        let kind = found.map_type().map_err(|source| PinError::Open { path: path.to_owned(), source })?;
        let properties = [
            ("type", kind as usize, self.kind as usize),
            ("key size", number(found.key_size()), self.key),
            ("value size", number(found.value_size()), self.value),
            ("number of entries", number(found.max_entries()), self.entries.unwrap_or(number(found.max_entries()))),
            ("set of flags", number(found.map_flags()), number(self.flags)),
        ];
        match properties.into_iter().find(|(_, found, expected)| found != expected) {
            None => Ok(()),
            Some((what, found, expected)) => Err(PinError::Foreign { path: path.to_owned(), what, found, expected }),
        }
    }
}

fn number(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
