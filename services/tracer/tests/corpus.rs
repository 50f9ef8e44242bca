//! Scripts over the whole language: each is read without errors, and what is printed reads as the same tree.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod scripts;

use synscope_tracer::ast::Program;
use synscope_tracer::print::print;
use synscope_tracer::render::render_all;
use synscope_tracer::source::Source;
use synscope_tracer::{diagnostic::Severity, parse};

/// The tree of a script that must be right.
fn tree(source: &Source) -> Program {
    let parsed = parse(source);
    let shown = render_all(&parsed.diagnostics, source, false);
    assert!(parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Note), "{shown}");
    parsed.program.unwrap_or_else(|| panic!("{} has no tree:\n{}", source.name(), source.text()))
}

#[test]
fn every_script_is_read_and_printed_text_means_the_same() {
    let scripts = scripts::folder("corpus");
    assert!(scripts.len() >= 150, "{} scripts", scripts.len());
    for script in scripts {
        let program = tree(&script.source);
        let text = print(&program);
        let again = tree(&Source::new(format!("{} printed", script.source.name()), text.clone()));
        assert_eq!(scripts::without_places(&program), scripts::without_places(&again), "{text}");
        assert_eq!(text, print(&again), "printing twice gives the same text");
    }
}

#[test]
fn the_pieces_of_a_script_are_where_they_stand() {
    let source = Source::new("x", "kprobe:tcp_*, BEGIN /pid == 1/ { @start[tid] = nsecs; }");
    let program = tree(&source);
    let probe = program.probes.first().unwrap();
    let points: Vec<&str> = probe.attach_points.iter().map(|point| source.slice(point.span)).collect();
    assert_eq!(points, ["kprobe:tcp_*", "BEGIN"]);
    assert_eq!(source.slice(probe.predicate.as_ref().unwrap().span), "pid == 1");
    assert_eq!(source.slice(probe.body.span), "{ @start[tid] = nsecs; }");
    assert_eq!(source.slice(probe.body.statements.first().unwrap().span), "@start[tid] = nsecs");
}
