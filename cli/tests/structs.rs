//! Structs that a script defines itself, beside what the C compiler makes of the same definitions: how they are laid out,
//! and what a script reads of one that a process hands to the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod traced;

use std::path::{Path, PathBuf};
use std::process::Command;

use traced::{OURS, ours, traced};

const PROGRAM: &str = include_str!("structs.c");

fn definitions() -> &'static str {
    PROGRAM.split_once("/* definitions */\n").unwrap().1.split_once("/* end */").unwrap().0
}

/// The program, compiled under this name.
fn compiled(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/structs.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let ran = Command::new("cc").arg("-o").arg(&program).arg(source).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    program
}

#[test]
fn structs_are_laid_out_as_in_c() {
    let program = compiled("tells");
    let told = Command::new(&program).output().unwrap();
    std::fs::remove_file(program).unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let asked: Vec<&str> = told.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert!(asked.len() > 50, "{told}");
    let prints: Vec<String> = asked.iter().map(|what| format!("printf(\"{what} %d\\n\", {what});\n")).collect();
    let script = format!("{}BEGIN {{ {} exit(); }}", definitions(), prints.concat());
    let ran = Command::new(OURS).args(["trace", "-e", &script]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let written = String::from_utf8(ran.stdout).unwrap();
    let written: Vec<&str> = written.lines().skip(1).take(asked.len()).collect();
    assert_eq!(written, told.lines().collect::<Vec<_>>());
}

/// The program's own values, member by member through a pointer, from a copy, and as a whole.
#[test]
fn members_are_read_as_c_wrote_them() {
    let script = format!(
        r#"{}struct sample {{ struct bits bits; struct mixed mixed; struct packed_bits packed; struct nested nested;
            struct texts texts; struct enums enums; }};
        tracepoint:syscalls:sys_enter_write /(int32)args.fd == -1 && args.count == sizeof(struct sample)/ {{
            $s = (struct sample *)args.buf;
            printf("%d %d %d %d %d %c\n", $s->bits.a, $s->bits.b, $s->bits.c, $s->bits.d, $s->bits.e, $s->bits.f);
            $m = $s->mixed;
            printf("%d %d %d %lx %d %d\n", $m.a, $m.b, $m.c, $m.d, $m.e, $m.f);
            printf("%d %d %x %lx %d\n", $s->packed.a, $s->packed.b, $s->packed.c, $s->packed.d, $s->packed.e);
            $p = $s->packed;
            printf("%d %d %x %lx %d\n", $p.a, $p.b, $p.c, $p.d, $p.e);
            $n = $s->nested; $i = 1;
            printf("%d %d %d %d %s %c\n", $n.b.b, $n.c[0].x, $s->nested.c[$i].x, $n.c[1].y, $n.d.bytes, $n.e);
            print($n.c[1]);
            printf("%s %d %p %d\n", $s->texts.name, $s->texts.bytes[1], $s->texts.pointer, $s->texts.rows[1][2]);
            printf("%d %d %d %d\n", $s->enums.b == BLUE, $s->enums.d == LARGE, $s->enums.e, sizeof($s->enums));
            print($s->bits); print($s->mixed); print($p); print($s->nested); print($s->texts);
            @kept = $s->bits; @of[$s->nested.b] = $s->texts.bytes; @b = @kept.b + 1;
            printf("%d %d\n", @of[$s->nested.b][1], @kept.c);
        }}"#,
        definitions()
    );
    let program = compiled("writes");
    let written = traced(&ours(), &script, || {
        assert!(Command::new(&program).arg("write").status().unwrap().success());
    });
    std::fs::remove_file(program).unwrap();
    let expected = "-3 41 2901 77 -1 f\n2 300 1000001 89abcdef12 -7 1\n200 19 2aaaaaaa 155555555 -200\n\
        200 19 2aaaaaaa 155555555 -200\n-70000 300 -500 6 sixth e\n{ .x = -500, .y = 6 }\nfour 255 0x8 -6\n1 1 1 48\n\
        { .a = -3, .b = 41, .c = 2901, .d = 77, .e = -1, .f = 102 }\n\
        { .a = 2, .b = 300, .c = 1000001, .d = 591292919570, .e = -7, .f = 1 }\n\
        { .a = 200, .b = 19, .c = 715827882, .d = 5726623061, .e = -200 }\n\
        { .a = 1, .b = { .a = -2, .b = -70000 }, .c = [{ .x = 300, .y = 4 },{ .x = -500, .y = 6 }], \
        .d = { .i = 1954048371, .bytes = sixth }, .e = 101 }\n\
        { .name = four, .bytes = [1,255,3], .pointer = 0x8, .rows = [[1,2,3],[-4,-5,-6]] }\n255 2901\n";
    assert!(written.starts_with(expected), "{written}");
    for line in [
        "@b: 42",
        "@kept: { .a = -3, .b = 41, .c = 2901, .d = 77, .e = -1, .f = 102 }",
        "@of[{ .a = -2, .b = -70000 }]: [1,255,3]",
    ] {
        assert!(written.lines().any(|other| other == line), "no {line:?} in:\n{written}");
    }
}

/// As bpftrace writes them: members by name, elements in a row, constants as numbers.
#[test]
fn structs_are_documents_in_json() {
    let script = format!(
        r#"{}BEGIN {{
            $s = *(struct nested *)(pid - pid); print($s); print(pton("1.2.3.4")); print(BLUE);
            @of[BLUE] = $s.c; @last = *(struct texts *)(pid - pid); exit();
        }}"#,
        definitions()
    );
    let ran = Command::new(OURS).args(["trace", "-f", "json", "-e", &script]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let written = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        written.lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect();
    let inner = serde_json::json!([{"x": 0, "y": 0}, {"x": 0, "y": 0}]);
    let nested = serde_json::json!({"a": 0, "b": {"a": 0, "b": 0}, "c": inner, "d": {"i": 0, "bytes": ""}, "e": 0});
    let texts = serde_json::json!({"name": "", "bytes": [0, 0, 0], "pointer": 0, "rows": [[0, 0, 0], [0, 0, 0]]});
    let expected = serde_json::json!([
        {"type": "value", "data": nested},
        {"type": "value", "data": [1, 2, 3, 4]},
        {"type": "value", "data": 8},
        {"type": "map", "data": {"@last": texts}},
        {"type": "map", "data": {"@of": {"8": inner}}},
    ]);
    assert_eq!(serde_json::Value::from(lines), expected, "{written}");
}
