//! What there is to say about a script: errors, warnings and notes, each with a place.

use serde::Serialize;

use crate::source::{Position, Source, Span};

/// How serious a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the script means what it says.
    Note,
    /// The script runs, but likely not as meant.
    Warning,
    /// The script does not run.
    Error,
}

/// A remark on a second place, or on the diagnostic's own place when the spans are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// The remark.
    pub text: String,
}

/// A change to the script that would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// What is replaced; empty to insert.
    pub span: Span,
    /// What to write there; empty to remove.
    pub replacement: String,
    /// Why, as a short request.
    pub text: String,
}

/// One finding in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How serious it is.
    pub severity: Severity,
    /// A stable name for this kind of finding, such as `unknown-function`.
    pub code: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// The place.
    pub span: Span,
    /// Remarks on places.
    pub labels: Vec<Label>,
    /// Remarks on the whole.
    pub notes: Vec<String>,
    /// What to write instead, where that is known.
    pub suggestion: Option<Suggestion>,
}

impl Diagnostic {
    fn new(severity: Severity, code: &'static str, message: impl Into<String>, span: Span) -> Self {
        let (labels, notes) = (Vec::new(), Vec::new());
        Diagnostic { severity, code, message: message.into(), span, labels, notes, suggestion: None }
    }

    /// A finding that keeps the script from running.
    pub fn error(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self::new(Severity::Error, code, message, span)
    }

    /// A likely mistake.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self::new(Severity::Warning, code, message, span)
    }

    /// Something worth knowing.
    pub fn note(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self::new(Severity::Note, code, message, span)
    }

    /// Adds a remark under the diagnostic's own place.
    #[must_use]
    pub fn here(self, text: impl Into<String>) -> Self {
        let span = self.span;
        self.label(span, text)
    }

    /// Adds a remark on another place.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a remark on the whole.
    #[must_use]
    pub fn because(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn suggest(mut self, span: Span, replacement: impl Into<String>, text: impl Into<String>) -> Self {
        self.suggestion = Some(Suggestion { span, replacement: replacement.into(), text: text.into() });
        self
    }

    /// The same with lines and columns, for JSON.
    pub fn located(&self, source: &Source) -> Located {
        let labels = self
            .labels
            .iter()
            .map(|label| LocatedLabel { place: Place::of(label.span, source), text: label.text.clone() });
        let suggestion = self.suggestion.as_ref().map(|suggestion| LocatedSuggestion {
            place: Place::of(suggestion.span, source),
            replacement: suggestion.replacement.clone(),
            text: suggestion.text.clone(),
        });
        Located {
            severity: self.severity,
            code: self.code,
            message: self.message.clone(),
            source: source.name().to_owned(),
            place: Place::of(self.span, source),
            labels: labels.collect(),
            notes: self.notes.clone(),
            suggestion,
        }
    }
}

/// A range as bytes and as lines and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Byte offsets.
    #[serde(flatten)]
    pub span: Span,
    /// Where it begins.
    pub from: Position,
    /// Where it ends (the first character that no longer belongs to it).
    pub to: Position,
}

impl Place {
    fn of(span: Span, source: &Source) -> Self {
        Place { span, from: source.position(span.start), to: source.position(span.end) }
    }
}

/// [`Label`] with lines and columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocatedLabel {
    /// The place.
    #[serde(flatten)]
    pub place: Place,
    /// The remark.
    pub text: String,
}

/// [`Suggestion`] with lines and columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocatedSuggestion {
    /// What is replaced.
    #[serde(flatten)]
    pub place: Place,
    /// What to write there.
    pub replacement: String,
    /// Why.
    pub text: String,
}

/// [`Diagnostic`] with lines and columns, as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Located {
    /// How serious it is.
    pub severity: Severity,
    /// A stable name for this kind of finding.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// The script's name.
    pub source: String,
    /// The place.
    #[serde(flatten)]
    pub place: Place,
    /// Remarks on places.
    pub labels: Vec<LocatedLabel>,
    /// Remarks on the whole.
    pub notes: Vec<String>,
    /// What to write instead.
    pub suggestion: Option<LocatedSuggestion>,
}

/// How many diagnostics one run collects; the rest is counted.
pub const MAX_DIAGNOSTICS: usize = 64;

/// The diagnostics of one run, in the order of their discovery, bounded.
#[derive(Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    left_out: usize,
}

impl Diagnostics {
    /// Adds one; beyond [`MAX_DIAGNOSTICS`] it is only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.list.len() < MAX_DIAGNOSTICS {
            self.list.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// Adds those of another run.
    pub fn extend(&mut self, other: Diagnostics) {
        self.errors += other.left_out_errors();
        self.left_out += other.left_out;
        other.list.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Errors that are counted and not in the list.
    fn left_out_errors(&self) -> usize {
        self.errors - self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// Whether this was said already.
    pub fn contains(&self, diagnostic: &Diagnostic) -> bool {
        self.list.contains(diagnostic)
    }

    /// Whether the script was refused.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there were, also those beyond the bound.
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// The diagnostics by place; a last note counts those left out.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|diagnostic| diagnostic.span);
        if let (true, Some(last)) = (self.left_out > 0, self.list.last()) {
            let text = format!("{} more diagnostics are not shown", self.left_out);
            self.list.push(Diagnostic::note("diagnostics-left-out", text, last.span));
        }
        self.list
    }
}
