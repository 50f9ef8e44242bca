//! Any text is read or refused: what is found points into it and can be shown, and what was read prints as a text that
//! reads again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synscope_tracer::parse;
use synscope_tracer::print::print;
use synscope_tracer::render::render_all;
use synscope_tracer::source::Source;

fuzz_target!(|bytes: &[u8]| {
    let source = Source::new("fuzz", String::from_utf8_lossy(bytes));
    let parsed = parse(&source);
    for diagnostic in &parsed.diagnostics {
        assert!(source.text().get(diagnostic.span.range()).is_some(), "{diagnostic:?}");
    }
    // Showing must not fail; what it shows is for people.
    let _shown = render_all(&parsed.diagnostics, &source, false);
    if let Some(program) = &parsed.program {
        let printed = print(program);
        let again = parse(&Source::new("printed", printed.clone()));
        assert!(again.program.is_some(), "{printed}\n{:?}", again.diagnostics);
    }
});
