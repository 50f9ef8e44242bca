//! Diagnostics as they travel.

use synscope_bus::command::tracer as bus;

use crate::diagnostic::{self, Diagnostic, Severity};
use crate::source::Source;

/// The same with lines and columns.
pub(super) fn located(diagnostics: &[Diagnostic], source: &Source) -> Vec<bus::Diagnostic> {
    diagnostics.iter().map(|diagnostic| one(diagnostic.located(source))).collect()
}

fn one(found: diagnostic::Located) -> bus::Diagnostic {
    let label = |label: diagnostic::LocatedLabel| bus::Label { place: place(label.place), text: label.text };
    bus::Diagnostic {
        severity: match found.severity {
            Severity::Note => bus::Severity::Note,
            Severity::Warning => bus::Severity::Warning,
            Severity::Error => bus::Severity::Error,
        },
        code: found.code.to_owned(),
        message: found.message,
        place: place(found.place),
        labels: found.labels.into_iter().map(label).collect(),
        notes: found.notes,
        suggestion: found.suggestion.map(|suggestion| bus::Suggestion {
            place: place(suggestion.place),
            replacement: suggestion.replacement,
            text: suggestion.text,
        }),
    }
}

const fn place(place: diagnostic::Place) -> bus::Place {
    let diagnostic::Place { span, from, to } = place;
    bus::Place {
        start: span.start,
        end: span.end,
        line: from.line,
        column: from.column,
        end_line: to.line,
        end_column: to.column,
    }
}
