//! What maps are called, and whose they are.
//!
//! The kernel keeps 15 characters of a name; a pin's file name is whole.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapInfo};
use synscope_abi::flow::{Flow, FlowKey};

/// The kernel keeps 15 characters of a map's name.
const KERNEL_NAME: usize = 15;
/// Folders within folders that are looked through, such as `tc/globals`.
const PIN_DEPTH: u32 = 2;
/// Pins that are told apart at most, as many as maps.
const PINS_MAX: usize = super::MAPS_MAX;
/// Our maps that can fill up.
const OURS: [&str; 5] = ["FLOWS_V4", "FLOWS_V6", "PENDING_V4", "PENDING_V6", "DROPS"];
/// The name that aya gives to a table made on its own, as our connection tables are.
const STAND_ALONE: &str = "standalone_hash";

/// Whole names of the maps that are pinned below a folder, by id.
pub(super) fn pinned(root: &Path) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let mut folders = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < PIN_DEPTH {
                folders.push((entry.path(), depth + 1));
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            // A shorter name is whole in the kernel, too.
            if kind.is_file() && name.len() >= KERNEL_NAME && names.len() < PINS_MAX {
                names.extend(map_id(entry.path()).map(|id| (id, name)));
            }
        }
    }
    names
}

/// The id of a pinned map. Programs and links are pinned beside maps and have ids of their own, which the kernel tells
/// in the same place: what kind of thing a pin is, only its descriptor's link says.
fn map_id(pin: PathBuf) -> Option<u32> {
    let map = MapData::from_pin(pin).ok()?;
    let descriptor = map.fd().as_fd().as_raw_fd();
    let target = fs::read_link(format!("/proc/thread-self/fd/{descriptor}")).ok()?;
    if target != Path::new("anon_inode:bpf-map") {
        return None;
    }
    map.info().ok().map(|info| info.id())
}

/// The map's name: its pin's if that goes on where the kernel cut it off.
pub(super) fn name<'a>(info: &'a MapInfo, pins: &'a BTreeMap<u32, String>) -> &'a str {
    let kept = info.name_as_str().unwrap_or_default();
    pins.get(&info.id()).filter(|pin| pin.as_bytes().starts_with(kept.as_bytes())).map_or(kept, String::as_str)
}

/// Who made the map, as far as its name, or its layout, tells.
pub(super) fn owner(name: &str, info: &MapInfo) -> Option<&'static str> {
    if OURS.contains(&name) || name == STAND_ALONE && is_table(info) {
        Some("synscope")
    } else if name.starts_with("cilium_") {
        Some("cilium")
    } else {
        None
    }
}

/// Whether its entries are laid out as our connection tables' are.
fn is_table(info: &MapInfo) -> bool {
    let is = |size: u32, expected: usize| usize::try_from(size).is_ok_and(|size| size == expected);
    is(info.value_size(), size_of::<Flow>())
        && [size_of::<FlowKey<4>>(), size_of::<FlowKey<16>>()].into_iter().any(|key| is(info.key_size(), key))
}

#[cfg(test)]
mod tests {
    use aya::Ebpf;
    use aya::programs::SchedClassifier;

    use super::*;

    static BEHIND: &[u8] = aya::include_bytes_aligned!(env!("DATAPATH_EBPF_BEHIND"));

    /// A map as aya makes one on its own.
    fn stand_alone<K, V>() -> MapData {
        const HASH: u32 = 1;
        let [key, value] = [size_of::<K>(), size_of::<V>()].map(|size| u32::try_from(size).unwrap());
        MapData::create(aya_obj::Map::new_from_params(HASH, key, value, 1, 0), STAND_ALONE, None).unwrap()
    }

    #[test]
    fn maps_are_told_from_the_programs_pinned_beside_them() {
        let folder = tempfile::Builder::new().prefix("synscope-test-").tempdir_in("/sys/fs/bpf").unwrap();
        let deep = folder.path().join("tc/globals");
        fs::create_dir_all(&deep).unwrap();
        let mut ebpf = Ebpf::load(BEHIND).unwrap();
        let program: &mut SchedClassifier = ebpf.program_mut("drop_all").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.pin(folder.path().join("a_program_of_a_long_name")).unwrap();
        let map = stand_alone::<u32, u64>();
        map.pin(deep.join("cilium_policy_v2_00042")).unwrap();

        let id = map.info().unwrap().id();
        assert_eq!(pinned(folder.path()), BTreeMap::from([(id, "cilium_policy_v2_00042".to_owned())]));
    }

    #[test]
    fn a_pin_of_another_name_does_not_rename_a_map() {
        let map = stand_alone::<u32, u64>();
        let info = map.info().unwrap();
        let pin = |name: &str| BTreeMap::from([(info.id(), name.to_owned())]);
        assert_eq!(name(&info, &pin("standalone_hash_of_mine")), "standalone_hash_of_mine");
        assert_eq!(name(&info, &pin("something_else_entirely")), STAND_ALONE);
    }

    #[test]
    fn owners_are_known_by_name_and_our_tables_by_their_layout() {
        let foreign = stand_alone::<u32, u64>().info().unwrap();
        assert_eq!(owner("cilium_ct4_glob", &foreign), Some("cilium"));
        assert_eq!(owner("PENDING_V6", &foreign), Some("synscope"));
        assert_eq!(owner(STAND_ALONE, &foreign), None);
        let ours = stand_alone::<FlowKey<16>, Flow>().info().unwrap();
        assert_eq!(owner(STAND_ALONE, &ours), Some("synscope"));
    }
}
