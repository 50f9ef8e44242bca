//! Diagnostics as text for people: the line, the place underlined, what to write instead.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Source, Span};

/// Lines longer than this are not shown, in bytes: they would take long to lay out and help nobody.
const MAX_LINE: usize = 4_096;

/// One diagnostic as text, with a line break at its end; `colours` adds terminal colours.
pub fn render(diagnostic: &Diagnostic, source: &Source, colours: bool) -> String {
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code);
    let window = Window::around(diagnostic, source);
    let mut main = if let Some(window) = &window {
        title.element(snippet(diagnostic, source, window))
    } else {
        let position = source.position(diagnostic.span.start);
        title.element(Origin::path(source.name()).line(position.line as usize).char_column(position.column as usize))
    };
    for note in &diagnostic.notes {
        main = main.element(Level::NOTE.message(note.as_str()));
    }
    let mut report: Vec<Group<'_>> = vec![main];
    if let (Some(suggestion), Some(window)) = (&diagnostic.suggestion, &window) {
        let patch = Patch::new(window.range(suggestion.span), suggestion.replacement.as_str());
        let shown = Snippet::source(window.text).line_start(window.line).path(source.name()).patch(patch);
        report.push(Level::HELP.secondary_title(suggestion.text.as_str()).element(shown));
    }
    let mut text = renderer.render(&report);
    text.push('\n');
    text
}

/// All diagnostics as text, one empty line between them.
pub fn render_all(diagnostics: &[Diagnostic], source: &Source, colours: bool) -> String {
    let texts: Vec<String> = diagnostics.iter().map(|diagnostic| render(diagnostic, source, colours)).collect();
    texts.join("\n")
}

fn snippet<'a>(
    diagnostic: &'a Diagnostic,
    source: &'a Source,
    window: &Window<'a>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let own = diagnostic.labels.iter().find(|label| label.span == diagnostic.span);
    let primary = AnnotationKind::Primary.span(window.range(diagnostic.span));
    let others = diagnostic.labels.iter().filter(|label| label.span != diagnostic.span);
    let others = others.map(|label| AnnotationKind::Context.span(window.range(label.span)).label(label.text.as_str()));
    Snippet::source(window.text)
        .line_start(window.line)
        .path(source.name())
        .annotation(primary.label(own.map(|label| label.text.as_str())))
        .annotations(others)
}

/// The lines that a diagnostic speaks of.
struct Window<'a> {
    text: &'a str,
    /// The offset of the text in the script.
    start: usize,
    /// The number of its first line.
    line: usize,
}

impl<'a> Window<'a> {
    /// From the first to the last line that is named; nothing if one of those in between is too long to show.
    fn around(diagnostic: &Diagnostic, source: &'a Source) -> Option<Self> {
        let labels = diagnostic.labels.iter().map(|label| label.span);
        let suggestion = diagnostic.suggestion.iter().map(|suggestion| suggestion.span);
        let all = labels.chain(suggestion).fold(diagnostic.span, Span::to).range();
        let before = source.text().get(..all.start)?;
        let start = before.rfind('\n').map_or(0, |line| line + 1);
        let behind = source.text().get(all.end..)?;
        let end = all.end + behind.find('\n').unwrap_or(behind.len());
        let text = source.text().get(start..end)?;
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        text.lines().all(|line| line.len() <= MAX_LINE).then_some(Window { text, start, line })
    }

    /// A span as offsets into the window.
    fn range(&self, span: Span) -> std::ops::Range<usize> {
        let range = span.range();
        range.start.saturating_sub(self.start)..range.end.saturating_sub(self.start)
    }
}
