//! The kernel's maps that a script needs: those for its own maps, and those that carry results and keep what does not
//! fit the stack.

use crate::code::ir::MapId;
use crate::typed::{Held, Script};
use crate::types::Aggregate;

/// What kind of map the kernel makes (`enum bpf_map_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Any keys.
    Hash = 1,
    /// Numbers from zero as keys.
    Array = 2,
    /// The same with a value for each CPU.
    PerCpuHash = 5,
    /// The same with a value for each CPU.
    PerCpuArray = 6,
    /// Stacks by their number.
    StackTrace = 7,
    /// Records on their way to user space.
    RingBuffer = 27,
}

/// A map as the kernel makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapPlan {
    /// Its name, for whoever lists the kernel's maps.
    pub name: String,
    /// Its kind.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Entries at most; of a ring buffer, its bytes.
    pub entries: u32,
}

/// Bytes of the ring buffer: as many as bpftrace's buffer has per CPU (`perf_rb_pages`, 64 pages), for all together.
const RING: u32 = 1 << 20;
/// Stacks that are kept at most, as in bpftrace.
const STACKS: u32 = 131_072;
/// Bytes of a return address.
const FRAME: u32 = 8;
/// Frames of a kept stack.
pub const STACK_DEPTH: u32 = 127;

/// Offsets in the map of counters, in bytes.
pub mod counter {
    /// Records that found no room.
    pub const LOST: u32 = 0;
    /// Values that found no room in their map.
    pub const FULL: u32 = 8;
    /// When the trace began, in nanoseconds of the boot clock.
    pub const START: u32 = 16;
    /// Bytes of all.
    pub const SIZE: u32 = 24;
}

/// Offsets in the map of what each CPU spent, in bytes.
pub mod spent {
    /// When the present window began, in nanoseconds of the monotonic clock.
    pub const WINDOW: i16 = 0;
    /// Hits in it.
    pub const HITS: i16 = 8;
    /// Nanoseconds of programs in it.
    pub const RUN: i16 = 16;
    /// Hits in all.
    pub const ALL_HITS: i16 = 24;
    /// Nanoseconds of programs in all.
    pub const ALL_RUN: i16 = 32;
    /// Whether too much was spent, and of what; then the window stays as it was.
    pub const EXCEEDED: i16 = 40;
    /// When that was.
    pub const AT: i16 = 48;
    /// Bytes of all.
    pub const SIZE: u32 = 56;
    /// Too many hits.
    pub const BY_HITS: i32 = 1;
    /// Too much time.
    pub const BY_RUN: i32 = 2;
}

/// The front of a map that gathers by key: for each CPU a few places, each for the first key that came there and was in the
/// map already. What is added to such a key from then on is added here, by loads and a comparison of words, where the
/// map itself takes a call, a hash and several returns. Nothing ever moves from one to the other: an entry is what the
/// map has of it and what all fronts have of it, together.
pub mod front {
    /// Places.
    pub const SLOTS: u32 = 1 << SLOT_BITS;
    /// Bits of a hash that choose one.
    pub const SLOT_BITS: i32 = 6;
    /// Bytes of the longest key, without the number of a range.
    pub const KEY_MOST: u32 = 24;
    /// Offset in a place: 0 for a free one, then how many programs tried to take it, and from [`TAKEN`] on whose it is stays.
    pub const STATE: i16 = 0;
    /// Offset of the key; the value is behind it.
    pub const KEY: i16 = 8;
    /// A state that fewer tries do not reach.
    pub const TAKEN: i32 = 1 << 30;
    /// Odd, with bits all over: 2^64 by the golden ratio.
    pub const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Bytes of a place.
    pub const fn slot(key: u32, value: u32) -> u32 {
        KEY.unsigned_abs() as u32 + key + value
    }
}

/// Where the maps of a trace are among each other: the script's own first.
#[derive(Debug, Clone)]
pub struct Places {
    own: u32,
    /// Those of the script's own that have a front.
    fronts: Vec<usize>,
}

impl Places {
    /// Of a script with so many maps.
    pub fn of(script: &Script) -> Self {
        let fronts = (0..).zip(&script.maps).filter(|(_, map)| map.front).map(|(number, _)| number).collect();
        Self { own: u32::try_from(script.maps.len()).unwrap_or(u32::MAX / 2), fronts }
    }

    /// One of the script's own.
    pub fn own(&self, map: usize) -> MapId {
        MapId(u32::try_from(map).unwrap_or(0))
    }

    /// What carries results.
    pub fn ring(&self) -> MapId {
        MapId(self.own)
    }

    /// What counts losses.
    pub fn counters(&self) -> MapId {
        MapId(self.own + 1)
    }

    /// What does not fit the stack, a value for each probe.
    pub fn arena(&self) -> MapId {
        MapId(self.own + 2)
    }

    /// Stacks.
    pub fn stacks(&self) -> MapId {
        MapId(self.own + 3)
    }

    /// What each CPU spent.
    pub fn spent(&self) -> MapId {
        MapId(self.own + 4)
    }

    /// The front of one of the script's own.
    pub fn front(&self, map: usize) -> Option<MapId> {
        let place = self.fronts.iter().position(|other| *other == map)?;
        Some(MapId(self.own + 5 + u32::try_from(place).ok()?))
    }
}

/// Bytes behind a value of a map without keys that tell whether it was ever put there.
pub const FLAG: u32 = 8;

/// The ranges that a histogram has, with those for what is smaller and larger, or the intervals of a series.
pub fn buckets(aggregate: Aggregate) -> u32 {
    match aggregate {
        Aggregate::Log2 { bits } => (64 << bits) + (1 << bits) + 2,
        Aggregate::Linear { min, max, step } => {
            u32::try_from((max.saturating_sub(min)).div_euclid(step)).unwrap_or(0).saturating_add(3)
        }
        Aggregate::Series(series) => series.intervals,
        _ => 1,
    }
}

/// All maps of a script, in the order of [`Places`]. `arena` is how much of it a probe needs at most, and how many
/// probes there are.
pub fn maps(script: &Script, arena: (u32, u32)) -> Vec<MapPlan> {
    let mut maps: Vec<MapPlan> = Vec::new();
    for map in &script.maps {
        let (kind, key, value, entries) = match (&map.key, &map.value) {
            (None, Held::Values(ty)) => (MapKind::Array, 4, ty.room() + FLAG, 1),
            (Some(key), Held::Values(ty)) => (MapKind::Hash, key.room(), ty.room(), script.settings.max_map_keys),
            (None, Held::Gathered(aggregate)) => (MapKind::PerCpuArray, 4, aggregate.room(), buckets(*aggregate)),
            (Some(key), Held::Gathered(aggregate)) => {
                let bucket = if aggregate.is_parted() { 8 } else { 0 };
                (MapKind::PerCpuHash, key.room() + bucket, aggregate.room(), script.settings.max_map_keys)
            }
        };
        maps.push(MapPlan { name: named(&map.name), kind, key, value: value.max(8), entries });
    }
    let (arena, probes) = arena;
    let ring = MapPlan { name: "output".to_owned(), kind: MapKind::RingBuffer, key: 0, value: 0, entries: RING };
    let counters =
        MapPlan { name: "counters".to_owned(), kind: MapKind::Array, key: 4, value: counter::SIZE, entries: 1 };
    let (value, entries) = (arena.max(8), probes.max(1));
    let arena = MapPlan { name: "arena".to_owned(), kind: MapKind::PerCpuArray, key: 4, value, entries };
    let stacks = MapPlan {
        name: "stacks".to_owned(),
        kind: MapKind::StackTrace,
        key: 4,
        value: STACK_DEPTH * FRAME,
        entries: STACKS,
    };
    let spent =
        MapPlan { name: "spent".to_owned(), kind: MapKind::PerCpuArray, key: 4, value: spent::SIZE, entries: 1 };
    let front = |(own, _): (&MapPlan, _)| MapPlan {
        name: format!("front_{}", own.name),
        kind: MapKind::PerCpuArray,
        key: 4,
        value: front::SLOTS * front::slot(own.key, own.value),
        entries: 1,
    };
    let fronts: Vec<MapPlan> = maps.iter().zip(&script.maps).filter(|(_, map)| map.front).map(front).collect();
    maps.extend([ring, counters, arena, stacks, spent]);
    maps.extend(fronts);
    maps
}

/// Entries that the maps of a script's own may hold together.
pub fn entries(script: &Script) -> u64 {
    maps(script, (0, 0)).iter().take(script.maps.len()).map(|plan| u64::from(plan.entries)).sum()
}

/// A name as the kernel takes it: at most 15 letters, digits, dots and underscores.
fn named(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_');
    let name: String = "at_".chars().chain(letters).take(15).collect();
    name
}
