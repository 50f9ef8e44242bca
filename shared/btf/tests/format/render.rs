//! Types as C.

use synscope_btf::TypeId;

use crate::build::*;

#[test]
fn types_are_written_as_c_writes_them() {
    let mut build = Build::new();
    let int = build.int("int", 4);
    let char = build.int("char", 1);
    let sock = build.composite("sock", STRUCT, 4, &[("n", int, 0)]);
    let sock_pointer = build.to("", POINTER, sock);
    let fixed = build.to("", CONST, char);
    let text = build.to("", POINTER, fixed);
    let fixed_pointer = build.to("", CONST, text);
    let user = build.to("user", TYPE_TAG, char);
    let user_pointer = build.to("", POINTER, user);
    let attribute = build.to("address_space(1)", TYPE_TAG | FLAG, int);
    let row = build.array(char, 16);
    let rows = build.array(row, 2);
    let to_row = build.to("", POINTER, row);
    let prototype = build.prototype(int, &[("", sock_pointer), ("", TypeId::VOID)]);
    let callback = build.to("", POINTER, prototype);
    let callbacks = build.array(callback, 4);
    let returning = build.prototype(callback, &[]);
    let to_returning = build.to("", POINTER, returning);
    let forward = build.to("far", FORWARD, TypeId::VOID);
    let btf = build.btf();
    for (id, unnamed, named) in [
        (TypeId::VOID, "void", "void x"),
        (sock_pointer, "struct sock *", "struct sock *x"),
        (text, "const char *", "const char *x"),
        (fixed_pointer, "const char * const", "const char * const x"),
        (user_pointer, "__user char *", "__user char *x"),
        (attribute, "__attribute__((address_space(1))) int", "__attribute__((address_space(1))) int x"),
        (row, "char[16]", "char x[16]"),
        (rows, "char[2][16]", "char x[2][16]"),
        (to_row, "char (*)[16]", "char (*x)[16]"),
        (callback, "int (*)(struct sock *, ...)", "int (*x)(struct sock *, ...)"),
        (callbacks, "int (*[4])(struct sock *, ...)", "int (*x[4])(struct sock *, ...)"),
        (to_returning, "int (* (*)(void))(struct sock *, ...)", "int (* (*x)(void))(struct sock *, ...)"),
        (forward, "struct far", "struct far x"),
    ] {
        assert_eq!(btf.type_name(id).unwrap(), unnamed);
        assert_eq!(btf.declare(id, "x").unwrap(), named);
    }
}

#[test]
fn declarations_show_what_a_type_holds() {
    let mut build = Build::new();
    let int = build.int("int", 4);
    let nothing = build.composite("", STRUCT, 0, &[]);
    let inner = build.composite("", UNION, 4, &[("whole", int, 0), ("none", nothing, 0)]);
    let list = build.array(inner, 2);
    let members = [("", inner, 0), ("two", list, 32), ("low", int, bits(4, 96))];
    let outer = build.composite("outer", STRUCT | FLAG, 16, &members);
    let pointer = build.to("", POINTER, outer);
    let connect = build.function("connect", int, &[("to", pointer), ("flags", int)]);
    let state = build.enumeration("state", ENUM | FLAG, &[("OPEN", 1), ("LOST", 0xffff_ffff)]);
    let wide = build.enumeration("wide", ENUM64, &[("TOP", u64::MAX)]);
    let unnamed = build.enumeration("", ENUM, &[("ONE", 1)]);
    let name = build.to("one_t", TYPEDEF, unnamed);
    let btf = build.btf();
    let body = "\tunion {\n\t\tint whole;\n\t\tstruct {} none;\n\t};\n\tunion {\n\t\tint whole;\n\t\tstruct {} none;\n\t} two[2];\n\tint low: 4;\n";
    assert_eq!(btf.declaration(outer).unwrap(), format!("struct outer {{\n{body}}};"));
    assert_eq!(btf.declaration(connect).unwrap(), "int connect(struct outer *to, int flags)");
    assert_eq!(btf.declaration(state).unwrap(), "enum state {\n\tOPEN = 1,\n\tLOST = -1,\n};");
    assert_eq!(btf.declaration(wide).unwrap(), "enum wide {\n\tTOP = 18446744073709551615ULL,\n};");
    assert_eq!(btf.declaration(name).unwrap(), "typedef enum {\n\tONE = 1,\n} one_t;");
    assert_eq!(btf.type_name(inner).unwrap(), "union {...}");
    assert_eq!(btf.declaration(pointer).unwrap(), "struct outer *;");
}

#[test]
fn what_would_be_written_for_ever_is_refused() {
    let mut build = Build::new();
    let unnamed = build.composite("", STRUCT, 8, &[("a", TypeId::new(1), 0), ("b", TypeId::new(1), 0)]);
    let pair = [("", TypeId::new(2)), ("", TypeId::new(2))];
    let prototype = build.prototype(TypeId::VOID, &pair);
    let btf = build.btf();
    assert!(btf.declaration(unnamed).is_err());
    assert!(btf.type_name(prototype).is_err());
    assert_eq!(btf.size_of(prototype).unwrap_err().to_string(), "`type 2` has no size");
}
