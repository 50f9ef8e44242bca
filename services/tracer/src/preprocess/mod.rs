//! Lines with `#`: macros are expanded, conditions obeyed, includes noted.

mod condition;
mod expand;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::lex::{Lexer, Token, TokenKind};
use crate::source::{Source, Span};
use condition::Conditions;

/// How many tokens a script may have once its macros are expanded.
pub const MAX_TOKENS: usize = 200_000;

/// How deep macros may use macros, in their bodies and arguments together.
pub const MAX_MACRO_DEPTH: usize = 64;

/// How many includes the note about them points at, besides the first.
const MAX_LABELS: usize = 8;

/// A macro of the script.
#[derive(Debug, Clone)]
struct Macro {
    /// The names of its parameters; `None` for a plain name.
    parameters: Option<Vec<String>>,
    body: Vec<Token>,
    /// Where its name stands in its definition; nowhere for those that are always there.
    defined: Option<Span>,
}

/// What the preprocessor made of a script.
#[derive(Debug)]
pub struct Preprocessed {
    /// The tokens; the last one is [`TokenKind::End`].
    pub tokens: Vec<Token>,
    /// Where macros were used; tokens of their bodies stand there.
    pub expansions: HashSet<Span>,
    /// Whether that is the whole script: macros may make it too large.
    pub complete: bool,
}

/// The state between two lines.
struct Preprocessor<'s, 'd> {
    source: &'s Source,
    diagnostics: &'d mut Diagnostics,
    macros: HashMap<String, Rc<Macro>>,
    conditions: Conditions,
    /// The script's tokens so far, expanded.
    tokens: Vec<Token>,
    /// Expansions that are still allowed.
    budget: usize,
    /// How many expansions are under way, one inside the other.
    depth: usize,
    includes: Vec<Span>,
    expansions: HashSet<Span>,
}

/// Reads a script's tokens and expands its macros.
pub fn preprocess(source: &Source, diagnostics: &mut Diagnostics) -> Preprocessed {
    // bpftrace defines this name where types come from BTF, and scripts include headers where it is missing.
    let nowhere = Span::new(0, 0);
    let one = Token { kind: TokenKind::Int(1), span: nowhere };
    let have_btf = Rc::new(Macro { parameters: None, body: vec![one], defined: None });
    let mut state = Preprocessor {
        source,
        diagnostics,
        macros: HashMap::from([("BPFTRACE_HAVE_BTF".to_owned(), have_btf)]),
        conditions: Conditions::default(),
        tokens: Vec::new(),
        budget: MAX_TOKENS,
        depth: 0,
        includes: Vec::new(),
        expansions: HashSet::new(),
    };
    state.run();
    state.note_includes();
    Preprocessed { tokens: state.tokens, expansions: state.expansions, complete: state.budget > 0 }
}

impl Preprocessor<'_, '_> {
    fn run(&mut self) {
        let mut lexer = Lexer::new(self.source);
        let mut run = Vec::new();
        loop {
            let token = lexer.next(self.diagnostics);
            match token.kind {
                TokenKind::Directive(line) => {
                    self.flush(&mut run);
                    self.directive(line);
                    if !self.conditions.active() {
                        lexer.skip_to_directive();
                    }
                }
                TokenKind::End => {
                    self.flush(&mut run);
                    self.tokens.push(token);
                    return self.conditions.finish(self.diagnostics);
                }
                _ if self.conditions.active() => run.push(token),
                _ => {}
            }
        }
    }

    /// Expands the tokens between two directives.
    fn flush(&mut self, run: &mut Vec<Token>) {
        let expanded = self.expand(&std::mem::take(run), &mut Vec::new());
        self.tokens.extend(expanded);
    }

    /// One line with `#`.
    fn directive(&mut self, line: Span) {
        let text = self.source.slice(line);
        if text.starts_with('!') {
            return; // The line that names the interpreter.
        }
        let trimmed = text.trim_start();
        let name_start = line.start as usize + text.len() - trimmed.len();
        let length = trimmed.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(trimmed.len());
        let name = trimmed.get(..length).unwrap_or_default();
        let name_span = Span::new(name_start, name_start + length);
        let rest = Span::new(name_start + length, line.end as usize);
        if self.condition(name, name_span, rest) || !self.conditions.active() {
            return;
        }
        match name {
            "include" => self.includes.push(name_span.to(rest)),
            "define" => self.define(rest),
            "undef" => {
                let words = self.fragment(rest);
                if let Some(word) = words.first().and_then(|token| token.kind.word()) {
                    self.macros.remove(word);
                }
            }
            "error" => {
                let message = format!("the script refuses itself: {}", self.source.slice(rest).trim());
                self.diagnostics.push(Diagnostic::error("error-directive", message, name_span.to(rest)));
            }
            "pragma" | "line" | "warning" | "" => {}
            _ => {
                let message = format!("there is no directive `#{name}`");
                let error = Diagnostic::error("unknown-directive", message, name_span);
                self.diagnostics.push(error.because("comments begin with `//`, not with `#`"));
            }
        }
    }

    /// The tokens of a part of a line.
    fn fragment(&mut self, span: Span) -> Vec<Token> {
        let mut lexer = Lexer::fragment(self.source, span);
        let next = || Some(lexer.next(self.diagnostics));
        std::iter::from_fn(next).take_while(|token| token.kind != TokenKind::End).collect()
    }

    /// `#define NAME body` or `#define NAME(a, b) body`.
    fn define(&mut self, span: Span) {
        let tokens = self.fragment(span);
        let Some((Token { kind: TokenKind::Word(name), span: name_span }, rest)) = tokens.split_first() else {
            return self.diagnostics.push(Diagnostic::error("invalid-define", "a name follows `#define`", span));
        };
        // Only a parenthesis right behind the name begins parameters.
        let with_parameters = rest.first().is_some_and(|next| next.kind.is("(") && next.span.start == name_span.end);
        let (parameters, body) = if with_parameters {
            let Some(closing) = rest.iter().position(|token| token.kind.is(")")) else {
                let message = "the list of this macro's parameters is not closed";
                return self.diagnostics.push(Diagnostic::error("invalid-define", message, *name_span));
            };
            let (inside, behind) = rest.split_at_checked(closing).unwrap_or_default();
            let mut parameters = Vec::new();
            for token in inside.iter().skip(1) {
                match &token.kind {
                    TokenKind::Word(parameter) => parameters.push(parameter.clone()),
                    TokenKind::Symbol(",") => {}
                    other => {
                        let message = format!("a macro's parameter is a name, not {}", other.describe());
                        return self.diagnostics.push(Diagnostic::error("invalid-define", message, token.span));
                    }
                }
            }
            (Some(parameters), behind.get(1..).unwrap_or_default())
        } else {
            (None, rest)
        };
        let defined = Macro { parameters, body: body.to_vec(), defined: Some(*name_span) };
        self.macros.insert(name.clone(), Rc::new(defined));
    }

    /// One note for all includes.
    fn note_includes(&mut self) {
        let Some((first, others)) = self.includes.split_first() else { return };
        let mut note = Diagnostic::note("include-ignored", "includes are not read", *first);
        for other in others.iter().take(MAX_LABELS) {
            note = note.label(*other, "nor this one");
        }
        if let Some(more @ 1..) = others.len().checked_sub(MAX_LABELS) {
            note = note.because(format!("nor are {more} more"));
        }
        self.diagnostics.push(note.because("types come from the running kernel's BTF, and common constants are known"));
    }
}
