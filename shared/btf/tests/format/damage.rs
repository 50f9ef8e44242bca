//! Whatever the bytes are, reading ends and nothing panics.

use std::sync::Arc;

use proptest::prelude::*;
use synscope_btf::{Btf, BtfError, Named, Pattern, TypeId};

use crate::build::*;

/// A type of every kind.
fn every_kind() -> Build {
    let mut build = Build::new();
    let int = build.int("int", 4);
    let pointer = build.to("", POINTER, int);
    let array = build.array(pointer, 3);
    let inner = build.composite("", STRUCT | FLAG, 8, &[("a", int, bits(3, 5)), ("b", array, 32)]);
    let union = build.composite("u", UNION, 8, &[("", inner, 0), ("c", pointer, 0)]);
    build.enumeration("e", ENUM, &[("one", 1), ("two", 2)]);
    build.to("f", FORWARD, TypeId::VOID);
    let typedef = build.to("t", TYPEDEF, union);
    let qualified = [VOLATILE, CONST, RESTRICT].into_iter().fold(typedef, |id, kind| build.to("", kind, id));
    let function = build.function("fn", qualified, &[("x", pointer), ("", TypeId::VOID)]);
    let variable = build.add("v", VARIABLE, 0, int.number(), &[1]);
    build.add(".data", SECTION, 1, 8, &[variable.number(), 0, 4]);
    build.add("double", FLOAT, 0, 8, &[]);
    build.add("mark", DECL_TAG, 0, function.number(), &[0]);
    build.to("user", TYPE_TAG, typedef);
    build.enumeration("wide", ENUM64, &[("three", 3)]);
    build.composite("s", STRUCT, 16, &[("t", typedef, 0), ("", union, 64)]);
    build
}

fn ask_everything(btf: &Btf) {
    for id in btf.ids() {
        let _any_answer = (btf.type_of(id).is_ok(), btf.resolve(id).is_ok(), btf.unqualified(id).is_ok());
        let _any_answer = (btf.size_of(id), btf.type_tags(id).is_ok(), btf.decl_tags(id).count());
        let _any_answer = (btf.declaration(id), btf.type_name(id));
        let _any_answer = (btf.field(id, "t.c"), btf.member(id, "b"), btf.members(id).map(Iterator::count));
        let _any_answer = btf.prototype(id).map(|found| found.parameters.count());
        let _any_answer = btf.enum_values(id).map(Iterator::count);
    }
    for name in ["int", "s", "u", "e", "t", "fn", "v", ""] {
        let kinds = [Named::Number, Named::Struct, Named::Union, Named::Enum, Named::Typedef, Named::Function];
        for named in kinds {
            let _any_answer = (btf.find(named, name), btf.all(named, name).count());
        }
    }
    let _any_answer = (btf.constant("three").is_ok(), btf.offset_of("s", "t.a"));
    let _any_answer = (btf.functions(&Pattern::new("*n")).count(), btf.raw_tracepoint("x").is_some());
}

#[test]
fn what_is_sound_answers() {
    let btf = every_kind().btf();
    ask_everything(&btf);
    assert_eq!(btf.offset_of("s", "t.b").unwrap(), 4);
}

#[test]
fn damage_is_named() {
    let good = every_kind().file();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Btf::parse(file).unwrap_err().to_string()
    };
    assert_eq!(
        Btf::parse(Vec::new()).unwrap_err().to_string(),
        "the BTF is damaged at byte 0: it ends within the header"
    );
    assert!(with(0, b"\x7fELF").contains("magic"));
    assert!(with(0, &0xeb9f_u16.swap_bytes().to_ne_bytes()).contains("byte order"));
    assert!(with(2, &[9]).contains("version"));
    assert!(with(12, &u32::MAX.to_ne_bytes()).contains("outside the file"));
    assert!(with(20, &u32::MAX.to_ne_bytes()).contains("outside the file"));
    assert!(with(good.len() - 1, b"x").contains("the last name does not end"));
    assert!(with(good.len() - 2, &[0xff]).contains("a name is no text"));
    // The first type is the integer, the second the pointer: name, kind and target.
    assert!(with(24 + 4, &(31_u32 << 24).to_ne_bytes()).contains("kind 31 at byte 24"));
    assert!(with(24, &u32::MAX.to_ne_bytes()).contains("a name lies outside the names"));
    assert!(with(24 + 16 + 8, &9999_u32.to_ne_bytes()).contains("a type is referred to that is none"));
}

#[test]
fn a_longer_header_is_a_newer_kernels() {
    let good = every_kind().file();
    let file = [&good[..4], &32_u32.to_ne_bytes(), &good[8..24], &[0; 8], &good[24..]].concat();
    assert_eq!(Btf::parse(file).unwrap().offset_of("s", "t.b").unwrap(), 4);
}

#[test]
fn names_that_are_all_alike_take_no_longer() {
    let mut build = Build::new();
    let int = build.int("int", 4);
    let types = 200_000;
    for _ in 0..types {
        build.to("same", TYPEDEF, int);
    }
    let btf = build.btf();
    assert_eq!(btf.all(Named::Typedef, "same").count(), types);
    assert!(btf.find_typedef("other").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Btf::parse(bytes).is_err());
    }

    #[test]
    fn any_types_are_no_panic(words in prop::collection::vec(any_word(), 0..60)) {
        let mut file = Build::new().file();
        let length = u32::try_from(words.len() * 4).unwrap().to_ne_bytes();
        file[12..16].copy_from_slice(&length);
        file[16..20].copy_from_slice(&length);
        file.splice(24..24, words.into_iter().flat_map(u32::to_ne_bytes));
        if let Ok(btf) = Btf::parse(file) {
            ask_everything(&btf);
        }
    }

    #[test]
    fn any_damage_is_no_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), 0..32_u8), 1..8)) {
        let mut file = every_kind().file();
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(btf) = Btf::parse(file.clone()) {
            ask_everything(&btf);
        }
        // What refers to its own types there refers to the base's here.
        let base = Arc::new(every_kind().btf());
        if let Ok(btf) = Btf::parse_split(base, file) {
            ask_everything(&btf);
        }
    }

    #[test]
    fn any_length_is_refused(length in 0..every_kind().file().len()) {
        let mut file = every_kind().file();
        file.truncate(length);
        let refused = matches!(Btf::parse(file), Err(BtfError::Damaged { .. }));
        prop_assert!(refused);
    }
}

/// Words that often are a kind with few members, or a type that exists.
fn any_word() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..8_u32,
        (1..20_u32, 0..3_u32, 0..2_u32).prop_map(|(kind, count, flag)| flag << 31 | kind << 24 | count)
    ]
}
