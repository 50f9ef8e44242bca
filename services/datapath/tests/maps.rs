//! Maps of every kind that can fill up: counted, or not observed with the reason, and never told as empty.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use synscope_bus::message::signal::MapFill;
use synscope_datapath::signals::Sampler;

const DEADLINE: Duration = Duration::from_secs(20);

// `enum bpf_map_type` (include/uapi/linux/bpf.h).
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_HASH: u32 = 5;
const PERCPU_ARRAY: u32 = 6;
const STACK_TRACE: u32 = 7;
const LRU_HASH: u32 = 9;
const LRU_PERCPU_HASH: u32 = 10;
const LPM_TRIE: u32 = 11;
const ARRAY_OF_MAPS: u32 = 12;
const HASH_OF_MAPS: u32 = 13;
const SOCKHASH: u32 = 18;
const QUEUE: u32 = 22;
const STACK: u32 = 23;
const DEVMAP_HASH: u32 = 25;
const RINGBUF: u32 = 27;
const BLOOM_FILTER: u32 = 30;
const USER_RINGBUF: u32 = 31;

const BPF_F_NO_PREALLOC: u32 = 1;
/// Smaller than a page no ring can be.
const RING_BYTES: u32 = 4096;

fn bpf(command: libc::c_long, attributes: &mut [u32; 16]) -> io::Result<i32> {
    // SAFETY: the attributes live through the call, and so does what they point to.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of::<[u32; 16]>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(answer).unwrap()) }
}

fn words(pointer: *const u8) -> [u32; 2] {
    let address = pointer.expose_provenance() as u64;
    [u32::try_from(address & 0xffff_ffff).unwrap(), u32::try_from(address >> 32).unwrap()]
}

/// A map of its kind: sizes of key and value, room, flags, and a map that its inner maps are like.
fn create(name: &str, kind: u32, [key, value, max, flags]: [u32; 4], inner: Option<&OwnedFd>) -> OwnedFd {
    const BPF_MAP_CREATE: libc::c_long = 0;
    let mut attributes = [0; 16];
    attributes[..5].copy_from_slice(&[kind, key, value, max, flags]);
    attributes[5] = inner.map_or(0, |inner| inner.as_raw_fd().cast_unsigned());
    for (at, chunk) in name.as_bytes().chunks(4).enumerate() {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        attributes[7 + at] = u32::from_ne_bytes(word);
    }
    let map = bpf(BPF_MAP_CREATE, &mut attributes).unwrap_or_else(|error| panic!("{name}: {error}"));
    // SAFETY: the descriptor was just made, and is nobody else's.
    unsafe { OwnedFd::from_raw_fd(map) }
}

fn put(map: &OwnedFd, key: &[u32], value: &[u32]) {
    const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
    let mut attributes = [0; 16];
    attributes[0] = map.as_raw_fd().cast_unsigned();
    if !key.is_empty() {
        attributes[2..4].copy_from_slice(&words(key.as_ptr().cast()));
    }
    attributes[4..6].copy_from_slice(&words(value.as_ptr().cast()));
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).unwrap_or_else(|error| panic!("{key:?}: {error}"));
}

fn maps_left_out(sampler: &Sampler) -> Option<&str> {
    sampler.left_out().find_map(|(source, why)| why.filter(|_| source == "maps"))
}

/// The map of this name, once it is counted.
fn counted(sampler: &mut Sampler, name: &str) -> MapFill {
    let start = Instant::now();
    loop {
        let signals = sampler.sample(Vec::new());
        let maps = signals.maps.value().unwrap();
        if let Some(found) = maps.iter().find(|map| map.name == name) {
            return found.clone();
        }
        let left_out = maps_left_out(sampler);
        assert!(start.elapsed() < DEADLINE, "{name} is not counted; left out are {left_out:?}, told {maps:?}");
    }
}

#[test]
fn each_kind_that_can_fill_up_is_counted() {
    let cpus = aya::util::nr_cpus().unwrap();
    let mut maps = Vec::new();
    for (name, kind, flags) in [
        ("syn_k_hash", HASH, 0),
        ("syn_k_lru", LRU_HASH, 0),
        ("syn_k_pcpu", PERCPU_HASH, BPF_F_NO_PREALLOC),
        ("syn_k_lrupcpu", LRU_PERCPU_HASH, 0),
    ] {
        let map = create(name, kind, [4, 8, 1000, flags], None);
        (0..7).for_each(|key| put(&map, &[key], &vec![1; 2 * cpus]));
        maps.push(map);
    }
    let trie = create("syn_k_trie", LPM_TRIE, [8, 8, 1000, BPF_F_NO_PREALLOC], None);
    (0..7).for_each(|key| put(&trie, &[32, key], &[1, 1]));
    let inner = create("syn_k_inner", ARRAY, [4, 8, 1, 0], None);
    let of_maps = create("syn_k_of_maps", HASH_OF_MAPS, [4, 4, 1000, 0], Some(&inner));
    (0..7).for_each(|key| put(&of_maps, &[key], &[inner.as_raw_fd().cast_unsigned()]));
    let devices = create("syn_k_devmap", DEVMAP_HASH, [4, 4, 1000, 0], None);
    (0..7).for_each(|key| put(&devices, &[key], &[1]));
    let sockets = create("syn_k_sockets", SOCKHASH, [4, 4, 1000, 0], None);
    let listeners = [(); 7].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    for (key, listener) in (0..7).zip(&listeners) {
        put(&sockets, &[key], &[listener.as_raw_fd().cast_unsigned()]);
    }
    let mut sampler = Sampler::new(Vec::new());
    for (name, kind) in [
        ("syn_k_hash", "hash"),
        ("syn_k_lru", "lru_hash"),
        ("syn_k_pcpu", "percpu_hash"),
        ("syn_k_lrupcpu", "lru_percpu_hash"),
        ("syn_k_trie", "lpm_trie"),
        ("syn_k_of_maps", "hash_of_maps"),
        ("syn_k_devmap", "devmap_hash"),
        ("syn_k_sockets", "sockhash"),
    ] {
        let fill = counted(&mut sampler, name);
        assert_eq!((fill.kind.as_str(), fill.live, fill.max, fill.estimate), (kind, 7, 1000, false), "{fill:?}");
    }
    // Only programs put stacks in.
    let stacks = create("syn_k_stacks", STACK_TRACE, [4, 8, 1024, 0], None);
    let fill = counted(&mut sampler, "syn_k_stacks");
    assert_eq!((fill.kind.as_str(), fill.live, fill.max), ("stack_trace", 0, 1024));
    drop((maps, devices, sockets, stacks));
}

#[test]
fn a_ring_is_as_full_as_its_reader_is_behind() {
    let empty = create("syn_k_ring", RINGBUF, [0, 0, RING_BYTES, 0], None);
    // Of this kind, user space is the writer.
    let ring = create("syn_k_user_ring", USER_RINGBUF, [0, 0, RING_BYTES, 0], None);
    let page = RING_BYTES as usize;
    // SAFETY: the kernel chooses where, and it is written through nothing but this.
    let producer = unsafe {
        let (protection, offset) = (libc::PROT_READ | libc::PROT_WRITE, i64::from(RING_BYTES));
        libc::mmap(std::ptr::null_mut(), page, protection, libc::MAP_SHARED, ring.as_raw_fd(), offset)
    };
    assert_ne!(producer, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    // SAFETY: the page was just mapped to be written, and begins with the writer's position.
    unsafe { producer.cast::<u64>().write_volatile(136) };
    let mut sampler = Sampler::new(Vec::new());
    for (name, kind, live) in [("syn_k_ring", "ringbuf", 0), ("syn_k_user_ring", "user_ringbuf", 136)] {
        let fill = counted(&mut sampler, name);
        assert_eq!((fill.kind.as_str(), fill.live, fill.max), (kind, live, RING_BYTES.into()), "{fill:?}");
    }
    drop(empty);
}

#[test]
fn what_cannot_be_counted_is_not_observed_and_why_is_said() {
    for (name, kind, why) in [
        ("syn_k_queue", QUEUE, "but by taking it out"),
        ("syn_k_stack", STACK, "but by taking it out"),
        ("syn_k_bloom", BLOOM_FILTER, "a Bloom filter does not know"),
    ] {
        let map = create(name, kind, [0, 8, 1000, 0], None);
        (0..7).for_each(|value| put(&map, &[], &[value, value]));
        let mut sampler = Sampler::new(Vec::new());
        let start = Instant::now();
        loop {
            let signals = sampler.sample(Vec::new());
            let maps = signals.maps.value().unwrap();
            assert!(!maps.iter().any(|map| map.name == name), "{name} is told");
            if maps_left_out(&sampler).is_some_and(|said| said.contains(name) && said.contains(why)) {
                break;
            }
            assert!(start.elapsed() < DEADLINE, "{name}: {:?}", maps_left_out(&sampler));
        }
    }
}

/// They have a place for each index: told as full they would warn of nothing.
#[test]
fn what_cannot_fill_up_is_neither_told_nor_missing() {
    let inner = create("syn_n_inner", ARRAY, [4, 8, 1, 0], None);
    let arrays = [
        create("syn_n_array", ARRAY, [4, 8, 10, 0], None),
        create("syn_n_percpu", PERCPU_ARRAY, [4, 8, 10, 0], None),
        create("syn_n_of_maps", ARRAY_OF_MAPS, [4, 4, 10, 0], Some(&inner)),
    ];
    // Made last, so that it is counted last.
    let last = create("syn_n_last", HASH, [4, 8, 10, 0], None);
    let mut sampler = Sampler::new(Vec::new());
    assert_eq!(counted(&mut sampler, "syn_n_last").live, 0);
    let signals = sampler.sample(Vec::new());
    let named: Vec<_> = signals.maps.value().unwrap().iter().filter(|map| map.name.starts_with("syn_n_")).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(!maps_left_out(&sampler).is_some_and(|said| said.contains("syn_n_")));
    drop((arrays, last));
}
