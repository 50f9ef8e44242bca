//! A map like Cilium's connection table: same name, same kind, as full as in the article.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData};

use crate::netns::pins;

const LRU_HASH: u32 = 9;
/// The article's table, and what was in it: 97.7 %.
const ENTRIES: u32 = 524_288;
const IN_USE: u32 = 512_000;
/// Sizes of Cilium's `ipv4_ct_tuple` and `ct_entry`, bytes.
const KEY: usize = 14;
const VALUE: usize = 56;

/// The pinned map; removed when dropped.
#[derive(Debug)]
pub(crate) struct CiliumMap {
    folder: PathBuf,
}

impl CiliumMap {
    /// Makes, fills and pins it.
    pub(crate) fn new() -> Result<Self> {
        let [key_size, value_size] = [KEY, VALUE].map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        let params = aya_obj::Map::new_from_params(LRU_HASH, key_size, value_size, ENTRIES, 0);
        let map = Map::LruHashMap(MapData::create(params, "cilium_ct4_global", None)?);
        let mut map = HashMap::<MapData, [u8; KEY], [u8; VALUE]>::try_from(map)?;
        let folder = pins("cilium");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let made = Self { folder };
        let mut key = [0; KEY];
        for number in 0..IN_USE {
            key[..4].copy_from_slice(&number.to_be_bytes());
            map.insert(key, [0; VALUE], 0)?;
        }
        map.pin(made.folder.join("cilium_ct4_global"))?;
        Ok(made)
    }
}

impl Drop for CiliumMap {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}
