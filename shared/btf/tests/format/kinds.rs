//! Every kind of type, what it is and how large.

use synscope_btf::{BtfError, EnumValue, Forward, Int, Linkage, Named, SectionEntry, Type, TypeId};

use crate::build::*;

#[test]
fn numbers_have_sizes_and_signs() {
    let mut build = Build::new();
    let signed = build.add("int", INT, 0, 4, &[1 << 24 | 32]);
    let char = build.add("char", INT, 0, 1, &[2 << 24 | 8]);
    let bool = build.add("_Bool", INT, 0, 1, &[4 << 24 | 8]);
    let float = build.add("double", FLOAT, 0, 8, &[]);
    let btf = build.btf();
    let int = |id| match btf.type_of(id) {
        Ok(Type::Int(int)) => int,
        other => panic!("{other:?}"),
    };
    let wanted = Int { name: "int", size: 4, signed: true, char: false, bool: false, bits: 32, bit_offset: 0 };
    assert_eq!(int(signed), wanted);
    assert!(int(char).char && !int(char).signed);
    assert!(int(bool).bool && int(bool).size == 1);
    assert_eq!(btf.find_number("double").unwrap(), float);
    assert_eq!([signed, char, float].map(|id| btf.size_of(id).unwrap()), [4, 1, 8]);
    assert!(matches!(btf.type_of(TypeId::VOID), Ok(Type::Void)));
    assert!(matches!(btf.type_of(TypeId::new(5)), Err(BtfError::NoType(_))));
}

#[test]
fn names_and_qualifiers_are_walked_to_the_type_itself() {
    let mut build = Build::new();
    let int = build.int("unsigned int", 4);
    let host = build.to("__u32", TYPEDEF, int);
    let wire = build.to("__be32", TYPEDEF, host);
    let volatile = build.to("", VOLATILE, wire);
    let fixed = build.to("", CONST, volatile);
    let user = build.to("user", TYPE_TAG, fixed);
    let pointer = build.to("", POINTER, user);
    let restrict = build.to("", RESTRICT, pointer);
    let btf = build.btf();
    let names: Vec<_> = btf.walk(user).map(Result::unwrap).collect();
    assert_eq!(names.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [user, fixed, volatile, wire, host, int]);
    assert_eq!(btf.resolve(user).unwrap().0, int);
    let (id, found) = btf.unqualified(user).unwrap();
    assert!(id == wire && matches!(found, Type::Typedef(found) if found.name == "__be32"));
    assert_eq!(btf.type_tags(user).unwrap(), ["user"]);
    assert!(btf.type_tags(restrict).unwrap().is_empty(), "the mark is behind the pointer");
    assert_eq!([user, restrict].map(|id| btf.size_of(id).unwrap()), [4, 8]);
}

#[test]
fn arrays_are_as_large_as_what_they_hold() {
    let mut build = Build::new();
    let int = build.int("u16", 2);
    let row = build.array(int, 3);
    let name = build.to("row", TYPEDEF, row);
    let table = build.array(name, 5);
    let huge = build.array(table, u32::MAX);
    let btf = build.btf();
    assert_eq!(btf.size_of(table).unwrap(), 30);
    assert!(matches!(btf.type_of(table), Ok(Type::Array(array)) if array.element == name && array.length == 5));
    assert!(matches!(btf.size_of(huge), Err(BtfError::Endless(_))), "more than 32 bits");
}

#[test]
fn what_has_no_size_says_so() {
    let mut build = Build::new();
    let declared = build.to("elsewhere", FORWARD, TypeId::VOID);
    let union = build.add("union_elsewhere", FORWARD | FLAG, 0, 0, &[]);
    let function = build.function("f", TypeId::VOID, &[]);
    let btf = build.btf();
    let said = |id| btf.size_of(id).unwrap_err().to_string();
    assert_eq!(said(declared), "`struct elsewhere` has no size");
    assert_eq!(said(TypeId::VOID), "`void` has no size");
    assert!(matches!(btf.size_of(function), Err(BtfError::Unsized(_))));
    let wanted = Forward { name: "union_elsewhere", union: true };
    assert!(matches!(btf.type_of(union), Ok(Type::Forward(found)) if found == wanted));
    assert_eq!(
        btf.members(declared).unwrap_err().to_string(),
        "`struct elsewhere` is no struct or union that is known here"
    );
}

#[test]
fn enumerations_have_values_of_both_signs_and_widths() {
    let mut build = Build::new();
    let plain = build.enumeration("plain", ENUM, &[("ZERO", 0), ("HIGH", 0xffff_ffff)]);
    let signed = build.enumeration("signed", ENUM | FLAG, &[("MINUS", 0xffff_ffff)]);
    let wide = build.enumeration("wide", ENUM64, &[("TOP", u64::MAX), ("PART", 1 << 32 | 7)]);
    let wide_signed = build.enumeration("wide_signed", ENUM64 | FLAG, &[("WIDE_MINUS", u64::MAX - 1)]);
    let again = build.enumeration("", ENUM, &[("ZERO", 9)]);
    let btf = build.btf();
    let values = |id| btf.enum_values(id).unwrap().map(|value| value.value).collect::<Vec<_>>();
    assert_eq!(values(plain), [0, 0xffff_ffff]);
    assert_eq!(values(signed), [-1]);
    assert_eq!(values(wide), [u64::MAX.into(), 1 << 32 | 7]);
    assert_eq!(values(wide_signed), [-2]);
    assert_eq!([signed, wide].map(|id| btf.size_of(id).unwrap()), [4, 8]);
    assert_eq!(btf.enum_values(wide).unwrap().next(), Some(EnumValue { name: "TOP", value: u64::MAX.into() }));

    let found = btf.constant("PART").unwrap();
    assert_eq!((found.value, found.of), (1 << 32 | 7, wide));
    let both: Vec<_> = btf.constants("ZERO").map(|found| (found.value, found.of)).collect();
    assert_eq!(both, [(0, plain), (9, again)]);
    let error = btf.constant("MINUSS").unwrap_err().to_string();
    assert_eq!(error, "this kernel has no constant `MINUSS`; did you mean `MINUS`?");
    assert_eq!(btf.find_enum("wide").unwrap(), wide);
}

#[test]
fn functions_have_parameters_and_may_take_more() {
    let mut build = Build::new();
    let int = build.int("int", 4);
    let pointer = build.to("", POINTER, int);
    let plain = build.function("tcp_v4_connect", int, &[("sk", pointer), ("len", int)]);
    let prototype = build.prototype(TypeId::VOID, &[("format", pointer), ("", TypeId::VOID)]);
    let printing = build.add("printk", FUNCTION, 1, prototype.number(), &[]);
    let called_back = build.to("", POINTER, prototype);
    let callback = build.to("callback_t", TYPEDEF, called_back);
    let twice = build.function("tcp_v4_connect", TypeId::VOID, &[]);
    let btf = build.btf();
    let found = btf.prototype(plain).unwrap();
    let parameters: Vec<_> = found.parameters.map(|parameter| (parameter.name, parameter.id)).collect();
    assert_eq!(parameters, [("sk", pointer), ("len", int)]);
    assert!(found.returns == int && !found.variadic);
    for id in [printing, prototype, callback] {
        let found = btf.prototype(id).unwrap();
        assert!(found.variadic && found.parameters.len() == 1, "{found:?}");
    }
    assert!(matches!(btf.type_of(printing), Ok(Type::Function(found)) if found.linkage == Linkage::Global));
    assert_eq!(btf.all(Named::Function, "tcp_v4_connect").collect::<Vec<_>>(), [plain, twice]);
    assert_eq!(btf.prototype(int).unwrap_err().to_string(), "`int` is no function");
}

#[test]
fn raw_tracepoints_give_names_where_the_kernel_has_them() {
    let mut build = Build::new();
    let int = build.int("int", 4);
    for name in ["old", "new"] {
        let prototype = build.prototype(TypeId::VOID, &[("", int), ("", int)]);
        let pointer = build.to("", POINTER, prototype);
        build.to(&format!("btf_trace_{name}"), TYPEDEF, pointer);
    }
    build.function("__traceiter_new", int, &[("__data", int), ("skb", int)]);
    let btf = build.btf();
    let names = |name| btf.raw_tracepoint(name).unwrap().parameters.map(|one| one.name).collect::<Vec<_>>();
    assert_eq!(names("new"), ["__data", "skb"]);
    assert_eq!(names("old"), ["", ""]);
    assert!(btf.raw_tracepoint("none").is_none());
    let all = synscope_btf::Pattern::new("*");
    assert_eq!(btf.raw_tracepoints(&all).collect::<Vec<_>>(), ["old", "new"]);
}

#[test]
fn variables_lie_in_sections_and_declarations_have_marks() {
    let mut build = Build::new();
    let int = build.int("int", 4);
    let variable = build.add("runqueues", VARIABLE, 0, int.number(), &[1]);
    let section = build.add(".data..percpu", SECTION, 1, 64, &[variable.number(), 8, 4]);
    let function = build.function("bpf_rdonly_cast", int, &[("a", int)]);
    build.add("bpf_kfunc", DECL_TAG, 0, function.number(), &[u32::MAX]);
    build.add("nullable", DECL_TAG, 0, function.number(), &[0]);
    let btf = build.btf();
    let entry = SectionEntry { variable, offset: 8, size: 4 };
    assert!(matches!(btf.type_of(section), Ok(Type::Section(found)) if found.entries.clone().eq([entry])));
    assert_eq!(btf.find(Named::Variable, "runqueues").unwrap(), variable);
    assert_eq!([variable, section].map(|id| btf.size_of(id).unwrap()), [4, 64]);
    let tags: Vec<_> = btf.decl_tags(function).map(|tag| (tag.name, tag.component)).collect();
    assert_eq!(tags, [("bpf_kfunc", None), ("nullable", Some(0))]);
    assert_eq!(btf.decl_tags(int).count(), 0);
}
