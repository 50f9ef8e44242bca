//! Where members lie.

use synscope_btf::{Field, TypeId};

use crate::build::*;

#[test]
fn members_are_found_through_unnamed_structs_and_typedefs() {
    let mut build = Build::new();
    let int = build.int("u32", 4);
    let ns = build.composite("ns", STRUCT, 8, &[("inum", int, 32)]);
    let name = build.to("ns_t", TYPEDEF, ns);
    let inner = build.composite("", UNION, 8, &[("count", int, 0), ("ns", name, 0)]);
    let qualified = build.to("", CONST, inner);
    let net = build.composite("net", STRUCT, 16, &[("a", int, 0), ("", qualified, 64)]);
    let btf = build.btf();
    assert_eq!(btf.offset_of("net", "ns.inum").unwrap(), 12);
    let field = Field { id: name, bit_offset: 64, bit_size: None };
    assert_eq!(btf.member(net, "ns").unwrap(), field);
    assert_eq!(field.byte_offset(), 8);
    assert_eq!(btf.members(net).unwrap().map(|member| member.name).collect::<Vec<_>>(), ["a", ""]);
    assert_eq!(btf.size_of(name).unwrap(), 8);
    let said = |path| btf.offset_of("net", path).unwrap_err().to_string();
    assert_eq!(said("ns.inun"), "`ns_t` has no member `inun`; did you mean `inum`?");
    assert_eq!(said("coun"), "`struct net` has no member `coun`; did you mean `count`?");
    assert_eq!(said("a.b"), "`u32` is no struct or union that is known here");
    assert_eq!(said("").as_str(), "`struct net` has no member ``");
    let missing = btf.offset_of("nett", "a").unwrap_err().to_string();
    assert_eq!(missing, "this kernel has no struct `nett`; did you mean `net`?");
    assert!(btf.find_union("net").is_err(), "it is a struct");
}

#[test]
fn bit_fields_have_a_place_within_bytes() {
    let mut build = Build::new();
    let int = build.int("u8", 1);
    let flags = [("plain", int, 0), ("low", int, bits(4, 8)), ("high", int, bits(4, 12))];
    let outer = build.composite("flags", STRUCT | FLAG, 2, &flags);
    let btf = build.btf();
    let high = btf.member(outer, "high").unwrap();
    assert_eq!((high.byte_offset(), high.bits_before(), high.bit_size), (1, 4, Some(4)));
    assert_eq!(btf.member(outer, "plain").unwrap().bit_size, None);
    assert_eq!(btf.offset_of("flags", "low").unwrap(), 1);
    let error = btf.offset_of("flags", "high").unwrap_err().to_string();
    assert_eq!(error, "`high` of `struct flags` is a bit field: it begins within a byte");
}

#[test]
fn bit_fields_of_old_compilers_are_integers_that_do_not_fill_their_bytes() {
    let mut build = Build::new();
    let int = build.int("u32", 4);
    let three = build.add("u32", INT, 0, 4, &[2 << 16 | 3]);
    let outer = build.composite("old", STRUCT, 4, &[("a", int, 0), ("b", three, 8)]);
    let btf = build.btf();
    assert_eq!(btf.member(outer, "b").unwrap(), Field { id: three, bit_offset: 10, bit_size: Some(3) });
    assert_eq!(btf.member(outer, "a").unwrap().bit_size, None);
}

#[test]
fn what_holds_itself_comes_to_an_end() {
    let mut build = Build::new();
    build.composite("once", STRUCT, 8, &[("", TypeId::new(1), 0)]);
    build.composite("twice", STRUCT, 8, &[("", TypeId::new(2), 0), ("", TypeId::new(2), 0)]);
    let typedef = build.to("t", TYPEDEF, TypeId::new(3));
    let array = build.array(TypeId::new(4), 1);
    let pointer = build.to("", POINTER, TypeId::new(5));
    let function = build.to("f", FUNCTION, TypeId::new(6));
    let btf = build.btf();
    for structure in ["once", "twice"] {
        assert!(btf.offset_of(structure, "inum").unwrap_err().to_string().contains("refers to itself"));
    }
    assert!(btf.resolve(typedef).is_err() && btf.size_of(array).is_err());
    assert!(btf.prototype(pointer).is_err() && btf.prototype(function).is_err());
    for id in btf.ids() {
        let _any_answer = btf.declaration(id);
        assert_eq!(btf.type_name(id).is_err(), [typedef, array, pointer].contains(&id) && id != typedef);
    }
}
