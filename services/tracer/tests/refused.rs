//! Scripts with mistakes, and what is said about them. `BLESS=1` writes the expected texts anew.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod scripts;

use synscope_tracer::diagnostic::{Diagnostic, Severity};
use synscope_tracer::render::render_all;
use synscope_tracer::source::Source;
use synscope_tracer::{Environment, check, parse};

/// Compares what is said about a folder's scripts with what is expected.
fn explained(folder: &str, refused: impl Fn(&Source) -> Vec<Diagnostic>) {
    let bless = std::env::var_os("BLESS").is_some();
    let mut differences = Vec::new();
    for script in scripts::folder(folder) {
        let shown = render_all(&refused(&script.source), &script.source, false);
        let expected = script.path.with_extension("stderr");
        if bless {
            std::fs::write(&expected, &shown).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != shown {
            differences.push(format!("{}:\n{shown}", script.source.name()));
        }
    }
    assert!(differences.is_empty(), "unexpected diagnostics (BLESS=1 accepts them):\n{}", differences.join("\n"));
}

#[test]
fn mistakes_are_explained() {
    assert!(scripts::folder("refused").len() >= 40);
    explained("refused", |source| {
        let parsed = parse(source);
        assert!(parsed.program.is_none(), "{} is not refused", source.name());
        parsed.diagnostics
    });
}

/// These read well, and mean nothing to this kernel.
#[test]
fn mistakes_of_meaning_are_explained() {
    assert!(scripts::folder("checked").len() >= 17);
    explained("checked", |source| {
        let parsed = parse(source);
        let program = parsed.program.unwrap_or_else(|| panic!("{} does not read", source.name()));
        let checked = check(&program, &Environment::default());
        assert!(checked.script.is_none(), "{} is not refused", source.name());
        checked.diagnostics
    });
}

/// These run, and likely not as meant.
#[test]
fn likely_mistakes_are_warned_of() {
    assert!(scripts::folder("linted").len() >= 5);
    explained("linted", |source| {
        let checked = check(&parse(source).program.unwrap(), &Environment::default());
        assert!(checked.script.is_some(), "{} is refused: {:?}", source.name(), checked.diagnostics);
        assert!(!checked.diagnostics.is_empty(), "nothing is said about {}", source.name());
        checked.diagnostics
    });
}

#[test]
fn diagnostics_as_json_have_offsets_lines_and_columns() {
    let source = Source::new("x.bt", "kprobe:f {\n  pritnf(1);\n}\n");
    let parsed = parse(&source);
    let json: Vec<_> = parsed.diagnostics.iter().map(|diagnostic| diagnostic.located(&source)).collect();
    let expected = serde_json::json!([{
        "severity": "error",
        "code": "unknown-function",
        "message": "there is no function `pritnf`",
        "source": "x.bt",
        "start": 13, "end": 19,
        "from": {"line": 2, "column": 3}, "to": {"line": 2, "column": 9},
        "labels": [],
        "notes": [],
        "suggestion": {
            "start": 13, "end": 19,
            "from": {"line": 2, "column": 3}, "to": {"line": 2, "column": 9},
            "replacement": "printf",
            "text": "a function has a similar name",
        },
    }]);
    assert_eq!(serde_json::to_value(json).unwrap(), expected);
}

#[test]
fn suggestions_that_insert_or_replace_lead_to_a_better_script() {
    let source = Source::new("x", "kprobe:f { @x = 1 @y = 2; }");
    let parsed = parse(&source);
    let suggestion = parsed.diagnostics.first().and_then(|diagnostic| diagnostic.suggestion.clone()).unwrap();
    let mut text = source.text().to_owned();
    text.replace_range(suggestion.span.range(), &suggestion.replacement);
    let errors = parse(&Source::new("x", text)).diagnostics;
    assert!(errors.iter().all(|diagnostic| diagnostic.severity < Severity::Error), "{errors:?}");
}

#[test]
fn a_script_that_is_too_large_is_refused_at_once() {
    let parsed = parse(&Source::new("x", "x".repeat(synscope_tracer::parse::MAX_SCRIPT_BYTES + 1)));
    assert_eq!(parsed.diagnostics.iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>(), ["script-too-large"]);
}
