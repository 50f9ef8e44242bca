//! Which kinds of maps can fill up, and how it is known how full they are.

use aya::maps::{MapInfo, MapType};

/// A kind of map that has room for so much and refuses, or evicts, what comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// The kernel's name of it.
    pub(super) name: &'static str,
    pub(super) counting: Counting,
}

/// How it is known how full a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    /// By reading its entries in batches.
    Batches,
    /// By reading its keys one by one: the kernel offers no batches.
    Keys,
    /// By how far the writer is before the reader, in bytes.
    Positions,
    /// Not at all, and why.
    Impossible(&'static str),
}

/// None where a map cannot fill up: an array has a place for each index and is never without room; storages and arenas
/// grow with what they belong to.
pub(super) fn of(info: &MapInfo) -> Option<Kind> {
    use Counting::{Batches, Impossible, Keys, Positions};
    let Ok(kind) = info.map_type() else {
        return Some(Kind { name: "unknown", counting: Impossible("this kind of map is newer than this program") });
    };
    let (name, counting) = match kind {
        MapType::Hash => ("hash", Batches),
        MapType::LruHash => ("lru_hash", Batches),
        MapType::PerCpuHash => ("percpu_hash", Batches),
        MapType::LruPerCpuHash => ("lru_percpu_hash", Batches),
        MapType::LpmTrie => ("lpm_trie", Batches),
        MapType::HashOfMaps => ("hash_of_maps", Keys),
        MapType::DevMapHash => ("devmap_hash", Keys),
        MapType::SockHash => ("sockhash", Keys),
        MapType::StackTrace => ("stack_trace", Keys),
        MapType::RingBuf => ("ringbuf", Positions),
        MapType::UserRingBuf => ("user_ringbuf", Positions),
        MapType::Queue => ("queue", Impossible("the kernel does not tell what is in a queue but by taking it out")),
        MapType::Stack => ("stack", Impossible("the kernel does not tell what is in a stack but by taking it out")),
        MapType::BloomFilter => ("bloom_filter", Impossible("a Bloom filter does not know how much is in it")),
        _ => return None,
    };
    Some(Kind { name, counting })
}
