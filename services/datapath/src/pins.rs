//! Maps that outlive the process: where they are pinned, and whether what is pinned there may be adopted.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::maps::{Array, MapData, MapError, MapInfo};
use synscope_abi::settings::Settings;
use synscope_abi::{ABI_VERSION, counter};

/// Pinned maps in the order they are checked. The event ring is among them: what a dead process did not read yet is
/// read by the next one.
const PINNED: [&str; 7] = ["SETTINGS", "FLOWS_V4", "FLOWS_V6", "PENDING_V4", "PENDING_V6", "COUNTS", "EVENTS"];

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
    #[error("{path} is not the map this program made: {what} is {found}, expected {expected}")]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// Which property differs.
        what: &'static str,
        /// Its value there.
        found: u32,
        /// Its value here.
        expected: u32,
    },
}

/// Makes the folder, checks what is pinned there already, and tells where each map is to be pinned.
pub fn prepare(folder: &Path) -> Result<Vec<(&'static str, PathBuf)>, PinError> {
    fs::create_dir_all(folder).map_err(|source| PinError::Folder { path: folder.to_owned(), source })?;
    let pins = PINNED.map(|name| (name, folder.join(name)));
    for (name, path) in &pins {
        if path.exists() {
            check(folder, name, path)?;
        }
    }
    Ok(pins.into())
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

fn check(folder: &Path, name: &str, path: &Path) -> Result<(), PinError> {
    let open = |source| PinError::Open { path: path.to_owned(), source };
    let info = MapInfo::from_pin(path).map_err(open)?;
    if name == "SETTINGS" {
        expect(path, "value size", info.value_size(), size_of_u32::<Settings>())?;
        let map = aya::maps::Map::Array(MapData::from_pin(path).map_err(open)?);
        let settings = Array::<_, Settings>::try_from(map).map_err(open)?.get(&0, 0).map_err(open)?;
        // Zero: the process that made it died before it wrote its settings.
        if settings.abi_version != ABI_VERSION && settings.abi_version != 0 {
            return Err(PinError::Version { folder: folder.to_owned(), found: settings.abi_version });
        }
    }
    if name == "COUNTS" {
        let expected = u32::try_from(counter::COUNTERS).unwrap_or(u32::MAX);
        expect(path, "number of counters", info.max_entries(), expected)?;
    }
    Ok(())
}

fn expect(path: &Path, what: &'static str, found: u32, expected: u32) -> Result<(), PinError> {
    if found == expected {
        return Ok(());
    }
    Err(PinError::Foreign { path: path.to_owned(), what, found, expected })
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}
