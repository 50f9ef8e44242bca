//! What holds for every text and every tree.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod scripts;
mod trees;

use proptest::prelude::*;
use synscope_tracer::ast::Program;
use synscope_tracer::diagnostic::{Diagnostic, MAX_DIAGNOSTICS};
use synscope_tracer::parse::MAX_SCRIPT_BYTES;
use synscope_tracer::print::print;
use synscope_tracer::render::render_all;
use synscope_tracer::source::{Source, Span};
use synscope_tracer::{Parsed, parse};

/// Words and signs that scripts are made of, and some that they are not.
const SOUP: &[&str] = &[
    "kprobe:f ",
    "BEGIN ",
    "interval:s:1",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "/",
    "/* ",
    "*/",
    "//",
    "\n",
    "#define A ",
    "#define F(x) x",
    "F(",
    "A",
    "#if 0\n",
    "#endif\n",
    "#else\n",
    "\\\n",
    ";",
    ",",
    ":",
    "?",
    "=",
    "==",
    "+",
    "-",
    "*",
    "&",
    "++",
    "--",
    "->",
    ".",
    "..",
    "<<=",
    "!",
    "~",
    "%",
    "@",
    "@x",
    "@x[",
    "$x",
    "$1",
    "$#",
    "$",
    "0",
    "1e6",
    "0x",
    "08",
    "10ms",
    "\"",
    "\"a\"",
    "'",
    "\\",
    "if",
    "else",
    "while",
    "unroll",
    "for",
    "let",
    "return",
    "struct ",
    "struct s {",
    "int x;",
    "union",
    "enum",
    "typedef",
    "config = {",
    "sizeof(",
    "offsetof(",
    "(uint64)",
    "(struct s *)",
    "print(",
    "count()",
    "pid",
    "args",
    "true",
    "é",
    "fn",
    "__attribute__((packed))",
    "k*:",
    "kprobe:$1",
];

/// Every place that a diagnostic names is in the text, on the borders of characters, and can be shown.
fn check(source: &Source) -> Parsed {
    let parsed = parse(source);
    let inside = |span: Span| {
        let text = source.text();
        let (start, end) = (span.start as usize, span.end as usize);
        assert!(start <= end && end <= text.len(), "{span:?} in {text:?}");
        assert!(text.is_char_boundary(start) && text.is_char_boundary(end), "{span:?} in {text:?}");
    };
    let places = |diagnostic: &Diagnostic| {
        let labels = diagnostic.labels.iter().map(|label| label.span);
        let suggestion = diagnostic.suggestion.iter().map(|suggestion| suggestion.span);
        labels.chain(suggestion).chain([diagnostic.span]).collect::<Vec<_>>()
    };
    parsed.diagnostics.iter().flat_map(places).for_each(inside);
    assert!(parsed.diagnostics.len() <= MAX_DIAGNOSTICS + 1);
    assert!(parsed.program.is_some() || !parsed.diagnostics.is_empty(), "refused without a word: {:?}", source.text());
    if let Some(program) = &parsed.program {
        scripts::places(program).into_iter().for_each(inside);
        round_trip(program);
    }
    render_all(&parsed.diagnostics, source, false);
    parsed
}

/// What is printed reads as the same tree.
fn round_trip(program: &Program) {
    let text = print(program);
    let source = Source::new("printed", text.clone());
    let again = parse(&source);
    let shown = render_all(&again.diagnostics, &source, false);
    let again = again.program.unwrap_or_else(|| panic!("{text}\n{shown}"));
    assert_eq!(scripts::without_places(program), scripts::without_places(&again), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check(&Source::new("any", text));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&Source::new("any", String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn any_soup_of_tokens_is_read_or_refused(words in prop::collection::vec(prop::sample::select(SOUP), 0..80)) {
        check(&Source::new("soup", words.concat()));
    }

    #[test]
    fn any_soup_inside_a_probe_is_read_or_refused(words in prop::collection::vec(prop::sample::select(SOUP), 0..40)) {
        check(&Source::new("soup", format!("kprobe:f {{ {} }}", words.join(" "))));
    }

    #[test]
    fn scripts_with_a_piece_cut_out_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        start in any::<prop::sample::Index>(),
        length in 1_usize..30,
    ) {
        let scripts = scripts::folder("corpus");
        let text = which.get(&scripts).source.text();
        let characters: Vec<char> = text.chars().collect();
        let start = start.index(characters.len());
        let end = (start + length).min(characters.len());
        let cut: String = characters[..start].iter().chain(&characters[end..]).collect();
        check(&Source::new("cut", cut));
    }

    #[test]
    fn any_tree_is_printed_as_text_that_reads_the_same(program in trees::program()) {
        round_trip(&program);
    }
}

/// Nesting of every kind, a thousand times deeper than allowed.
#[test]
fn deep_nesting_is_refused_without_a_crash() {
    let deep = 100_000;
    let nests: &[(&str, &str, &str)] = &[
        ("BEGIN { print(", "(", "1"),
        ("BEGIN { print(", "-", "1"),
        ("BEGIN { print(", "!", "1"),
        ("BEGIN { print(", "*", "1"),
        ("BEGIN { print(", "(uint8)", "1"),
        ("BEGIN { print(", "1 + ", "1"),
        ("BEGIN { print(", "1 - (", "1"),
        ("BEGIN { print(", "1 ? 1 : ", "1"),
        ("BEGIN { print(", "1 ? ", "1"),
        ("BEGIN { print(", "str(", "1"),
        ("BEGIN { print(", "@x[", "1"),
        ("BEGIN { print(", "$x[", "1"),
        ("BEGIN { print(", "sizeof(", "1"),
        ("BEGIN { print($x", ".a", ")"),
        ("BEGIN { print($x", "->a", ")"),
        ("BEGIN { print($x", "[0]", ")"),
        ("BEGIN { print($x", ".0", ")"),
        ("BEGIN { ", "if (1) { ", "print(1);"),
        ("BEGIN { ", "while (1) { ", "print(1);"),
        ("BEGIN { ", "{ ", "print(1);"),
        ("BEGIN { if (1) { } ", "else if (1) { } ", "print(1);"),
        ("BEGIN { let $x : uint8", " *", ";"),
        ("struct x { ", "struct { ", "int a;"),
        ("struct x { int ", "(*", "a"),
        ("struct x { int ", "*", "a;"),
        ("struct x { int a", "[1]", ";"),
        ("#define F(x) x\nBEGIN { print(", "F(", "1"),
        ("", "#if 1\n", "BEGIN { }"),
        ("kprobe:f", ":f", " { }"),
        ("kprobe:f /", "(", "1"),
    ];
    for (start, middle, end) in nests {
        for times in [100, 127, 128, 300, deep] {
            check(&Source::new("deep", format!("{start}{}{end}", middle.repeat(times))));
        }
    }
}

#[test]
fn deep_but_allowed_nesting_is_read() {
    let deep = 100;
    let parentheses = format!("BEGIN {{ print({}1{}); }}", "(2 - ".repeat(deep), ")".repeat(deep));
    let blocks = format!("BEGIN {{ {}print(1);{} }}", "if (1) { ".repeat(deep), "}".repeat(deep));
    let chain = format!("BEGIN {{ print({}1); }}", "1 + ".repeat(250));
    let branches = format!("BEGIN {{ if (0) {{ }} {} }}", "else if (1) { print(1); } ".repeat(5_000));
    for text in [parentheses, blocks, chain, branches] {
        assert!(check(&Source::new("deep", text.clone())).program.is_some(), "{text}");
    }
}

/// Macros that would grow without end, or take for ever to make nothing.
#[test]
fn macros_are_bounded() {
    let doubling = |last: &str| {
        let lines: Vec<String> = (0..40).map(|n| format!("#define A{n} A{0} A{0}\n", n + 1)).collect();
        format!("{}#define A40 {last}\nBEGIN {{ print(A0); }}", lines.concat())
    };
    let arguments: Vec<String> = (0..40).map(|n| format!("#define A{n}(x) A{0}(x x)\n", n + 1)).collect();
    let arguments = format!("{}#define A40(x) x\nBEGIN {{ print(A0(1)); }}", arguments.concat());
    let itself = format!("#define X {}\nBEGIN {{ print(X); }}", "X + ".repeat(50_000));
    for text in [doubling("1"), doubling(""), arguments, itself] {
        assert!(check(&Source::new("macros", text)).program.is_none());
    }
}

/// The largest scripts of the most awkward kinds; a reader that goes back and forth would need hours.
#[test]
fn the_largest_scripts_are_read_at_once() {
    let kinds = [
        ("BEGIN { ", "'"),
        ("BEGIN { ", "\""),
        ("BEGIN { ", "@x = ;"),
        ("BEGIN { print(", "@x[1].a[2],"),
        ("kprobe:f /1 ", "/ /* */ "),
        ("kprobe:f /1 ", "/\n\n\n\n\n\n\n\n "),
        ("kprobe", ":"),
        ("", "/*"),
        ("", "k:f{}"),
        ("", "#include <x.h>\n"),
        ("", "#if 1\n"),
        ("#define F(x) x\nBEGIN { ", "F("),
    ];
    for (start, middle) in kinds {
        let times = (MAX_SCRIPT_BYTES - start.len()) / middle.len();
        let source = Source::new("large", format!("{start}{}", middle.repeat(times)));
        let parsed = parse(&source);
        render_all(&parsed.diagnostics, &source, false);
    }
}
