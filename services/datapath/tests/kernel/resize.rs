//! Tables that take each other's place.

use std::collections::BTreeSet;

use aya::maps::{ArrayOfMaps, Map, MapData};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use synscope_abi::NO_PREALLOC;
use synscope_abi::counter::Counter;
use synscope_abi::settings::{CURRENT, RETIRING};
use synscope_abi::timeout::Timeouts;
use synscope_datapath::kernel::{Kernel, KernelError, Options, Table};

use crate::pins::Pins;
use crate::wire::{small, wait_for};
use crate::{run, syn};

#[test]
fn a_full_inner_table_refuses_and_a_new_one_in_its_place_accepts() {
    let mut kernel = Kernel::load(&small(64)).unwrap();
    for port in 1..=100 {
        assert_eq!(run(&mut kernel, &syn(port, 7)), -1, "observe mode always answers `next program`");
    }
    let inserted = kernel.counter(Counter::Inserted).unwrap();
    let refused = kernel.counter(Counter::InsertFull).unwrap();
    assert_eq!((inserted, refused), (64, 36));
    assert_eq!(kernel.counter(Counter::PendingStored).unwrap(), 36);
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 64, "what we count is what the kernel holds");

    let resized = kernel.resize_v4(128).unwrap();
    assert_eq!((resized.moved, resized.left), (64, 0));
    for port in 1..=100 {
        run(&mut kernel, &syn(port, 7));
    }
    assert_eq!(kernel.counter(Counter::Inserted).unwrap(), 100, "64 were still known, 36 are new");
    assert_eq!(kernel.counter(Counter::PendingAdopted).unwrap(), 36);
}

/// A resize under load: packets of known and of new connections keep coming while the tables change places, ten times.
#[test]
fn a_resize_under_load_loses_no_connection() {
    const KNOWN: u16 = 20_000;
    let mut kernel = Kernel::load(&small(50_000)).unwrap();
    for port in 1..=KNOWN {
        run(&mut kernel, &syn(port, 7));
    }
    let id = kernel.classifier("ingress").unwrap().info().unwrap().id();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let packets = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let program = SchedClassifier::from_program_info(
                aya::programs::loaded_programs().flatten().find(|info| info.id() == id).unwrap(),
                "ingress".into(),
            )
            .unwrap();
            let mut packets = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for port in (1..=KNOWN).step_by(7) {
                    let frame = syn(port, 7);
                    let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
                    assert_eq!(program.test_run(options).unwrap().return_value.cast_signed(), -1);
                    packets += 1;
                }
            }
            packets
        });
        for round in 0..10 {
            let resized = kernel.resize_v4(50_000 + round * 10_000).unwrap();
            assert_eq!(resized.left, 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(packets > 0);
    assert_eq!(kernel.table_v4().unwrap().keys().count(), usize::from(KNOWN));
    assert_eq!(kernel.counter(Counter::Inserted).unwrap(), u64::from(KNOWN), "none was made anew");
    assert_eq!(kernel.counter(Counter::MoveFailed).unwrap(), 0);
}

#[test]
fn a_resize_below_what_is_there_is_refused_and_changes_nothing() {
    let mut kernel = Kernel::load(&small(64)).unwrap();
    for port in 1..=20 {
        run(&mut kernel, &syn(port, 7));
    }
    assert!(matches!(kernel.resize_v4(19), Err(KernelError::TooSmall { live: 20, .. })));
    assert!(matches!(kernel.resize_v4(0), Err(KernelError::TooSmall { .. })));
    assert!(matches!(kernel.resize_v4(u32::MAX), Err(KernelError::Capacity { .. })));
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 20);
}

fn pinned(pins: &Pins, entries: u32) -> Options<'_> {
    Options { pins: Some(&pins.0), ..small(entries) }
}

/// Does to the pinned IPv4 tables what a resize does first, and no more.
fn put(pins: &Pins, slot: u32, table: &Table<4>) {
    let slots = Map::ArrayOfMaps(MapData::from_pin(pins.0.join("FLOWS_V4")).unwrap());
    ArrayOfMaps::<_, Table<4>>::try_from(slots).unwrap().set(slot, table, 0).unwrap();
}

fn new_table(entries: u32) -> Table<4> {
    Table::create(entries, NO_PREALLOC).unwrap()
}

/// Keys in all three slots.
fn everywhere(kernel: &Kernel) -> usize {
    let mut keys = BTreeSet::new();
    kernel.each_v4(|key, _| keys.extend([*key])).unwrap();
    keys.len()
}

/// What a resize to a table that new connections fill at once leaves behind.
fn with_leftovers(pins: &Pins) -> Kernel {
    let mut kernel = Kernel::load(&pinned(pins, 64)).unwrap();
    for port in 1..=40 {
        run(&mut kernel, &syn(port, 7));
    }
    let (old, new) = (kernel.table_v4().unwrap(), new_table(10));
    put(pins, RETIRING[0], &old);
    put(pins, CURRENT, &new);
    kernel.sweep().unwrap();
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 10, "as many as there is room for");
    assert_eq!((old.keys().count(), everywhere(&kernel)), (30, 40));
    let [moved, failed] = [Counter::Moved, Counter::MoveFailed].map(|counter| kernel.counter(counter).unwrap());
    assert_eq!(moved, 10);
    // One walk moves, the next one nothing.
    let walks_inside = kernel.degradations().is_empty();
    assert_eq!(failed, if walks_inside { 2 } else { 60 }, "a walk ends where there is no room");
    kernel
}

#[test]
fn what_one_resize_left_moves_with_the_next() {
    let pins = Pins::new("left");
    let mut kernel = with_leftovers(&pins);
    assert!(matches!(kernel.resize_v4(39), Err(KernelError::TooSmall { live: 40, .. })), "leftovers count");
    let resized = kernel.resize_v4(40).unwrap();
    assert_eq!((resized.moved, resized.left), (40, 0));
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 40);
    for port in 1..=40 {
        run(&mut kernel, &syn(port, 7));
    }
    assert_eq!(kernel.counter(Counter::Inserted).unwrap(), 40, "all were known");
}

#[test]
fn leftovers_move_with_sweeps_as_room_becomes_free_and_expire_where_they_are() {
    let pins = Pins::new("room");
    let mut kernel = with_leftovers(&pins);
    let mut table = kernel.table_v4().unwrap();
    let held: Vec<_> = table.keys().take(4).map(Result::unwrap).collect();
    for key in held {
        table.remove(&key).unwrap();
    }
    kernel.sweep().unwrap();
    assert_eq!((table.keys().count(), everywhere(&kernel)), (10, 36));

    let timeouts = Timeouts { handshake: 0, ..Timeouts::SECONDS };
    kernel.configure(&Options { timeouts, ..pinned(&pins, 64) }).unwrap();
    wait_for("all expire", || {
        kernel.sweep().unwrap();
        (everywhere(&kernel) == 0).then_some(())
    });
    assert_eq!(kernel.counter(Counter::Expired).unwrap(), 36);
}

#[test]
fn two_resizes_without_room_end_in_a_clear_refusal() {
    let pins = Pins::new("twice");
    let mut kernel = with_leftovers(&pins);
    let full = kernel.table_v4().unwrap();
    put(&pins, RETIRING[1], &full);
    put(&pins, CURRENT, &new_table(1));
    let refused = kernel.resize_v4(1000).unwrap_err();
    assert!(matches!(refused, KernelError::Unfinished { left: 39, .. }), "{refused}");
    assert_eq!(everywhere(&kernel), 40);
}

/// The process dies in the middle of a resize; the next one loads what it left.
#[test]
fn a_resize_that_death_interrupted_is_finished_at_the_next_start() {
    type Death = fn(&Pins, &Table<4>);
    let deaths: [(&str, u32, u64, Death); 3] = [
        ("before the new table is in use", 64, 0, |pins, old| put(pins, RETIRING[1], old)),
        ("before the entries have moved", 128, 50, |pins, old| {
            put(pins, RETIRING[1], old);
            put(pins, CURRENT, &new_table(128));
        }),
        ("when some have moved", 128, 30, |pins, old| {
            let mut new = new_table(128);
            let moved: Vec<_> = old.iter().take(20).map(Result::unwrap).collect();
            for (key, flow) in &moved {
                new.insert(key, flow, 0).unwrap();
            }
            put(pins, RETIRING[1], old);
            put(pins, CURRENT, &new);
        }),
    ];
    for (when, capacity, moves, death) in deaths {
        let pins = Pins::new("death");
        let mut kernel = Kernel::load(&pinned(&pins, 64)).unwrap();
        for port in 1..=50 {
            run(&mut kernel, &syn(port, 7));
        }
        death(&pins, &kernel.table_v4().unwrap());
        drop(kernel);

        let mut kernel = Kernel::load(&pinned(&pins, 9)).unwrap();
        let [fill, _] = kernel.fill().unwrap();
        assert_eq!((fill.live, fill.max), (50, capacity.into()), "{when}");
        assert_eq!(kernel.table_v4().unwrap().keys().count(), 50, "{when}: none is left elsewhere");
        assert_eq!(kernel.counter(Counter::Moved).unwrap(), moves, "{when}: those that were there have not moved");
        for port in 1..=50 {
            run(&mut kernel, &syn(port, 7));
        }
        assert_eq!(kernel.counter(Counter::Inserted).unwrap(), 50, "{when}: all were known");
        assert_eq!(kernel.resize_v4(200).unwrap().moved, 50, "{when}");
    }
}
