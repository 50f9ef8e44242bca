//! Tokens into the tree: recursive descent that goes on behind an error.

mod config;
mod definition;
mod expression;
mod operand;
mod probe;
mod statement;
mod tokens;
mod types;

use std::collections::HashSet;

use crate::ast::Program;
use crate::attach;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::lex::{Token, TokenKind};
use crate::preprocess::preprocess;
use crate::source::{Source, Span};

/// The largest script, in bytes.
pub const MAX_SCRIPT_BYTES: usize = 1 << 20;

/// How deep blocks, parentheses and types may be nested.
pub const MAX_NESTING: u32 = 128;

/// How high the tree of one expression may be; `a + b + c` is two high.
pub const MAX_HEIGHT: u32 = 256;

/// What came of a script.
#[derive(Debug)]
pub struct Parsed {
    /// The tree, where there was no error.
    pub program: Option<Program>,
    /// Everything found, by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a script. Every error of the language's form is found here; names of types, fields and constants are not
/// looked up, and positional parameters stay what they are.
pub fn parse(source: &Source) -> Parsed {
    let mut diagnostics = Diagnostics::default();
    let mut expansions = HashSet::new();
    let program = if source.text().len() > MAX_SCRIPT_BYTES {
        let message = format!("the script is larger than {MAX_SCRIPT_BYTES} bytes");
        diagnostics.push(Diagnostic::error("script-too-large", message, Span::new(0, 0)));
        None
    } else {
        let read = preprocess(source, &mut diagnostics);
        expansions = read.expansions;
        let mut parser = Parser { tokens: read.tokens, at: 0, diagnostics: &mut diagnostics, depth: 0, height: 0 };
        read.complete.then(|| parser.program())
    };
    let refused = diagnostics.has_errors();
    let mut diagnostics = diagnostics.finish();
    for diagnostic in &mut diagnostics {
        explain_expansion(diagnostic, &expansions);
    }
    Parsed { program: program.filter(|_| !refused), diagnostics }
}

/// What is said of a macro's body points at its use, where a change of the text would not help.
fn explain_expansion(diagnostic: &mut Diagnostic, expansions: &HashSet<Span>) {
    if diagnostic.suggestion.as_ref().is_some_and(|suggestion| expansions.contains(&suggestion.span)) {
        diagnostic.suggestion = None;
    }
    if expansions.contains(&diagnostic.span) {
        diagnostic.notes.push("this stands in the expansion of a macro".to_owned());
    }
}

/// An error was reported; the caller looks for a place to go on.
#[derive(Debug, Clone, Copy)]
struct Failed;

type Result<T> = std::result::Result<T, Failed>;

/// Where the parser stands.
struct Parser<'d> {
    tokens: Vec<Token>,
    at: usize,
    diagnostics: &'d mut Diagnostics,
    /// How many nested things are being read.
    depth: u32,
    /// How high the expression read last is.
    height: u32,
}

impl Parser<'_> {
    fn program(&mut self) -> Program {
        let mut program = Program { definitions: Vec::new(), config: None, probes: Vec::new() };
        while self.peek().kind != TokenKind::End {
            let start = self.at;
            if self.item(&mut program).is_err() {
                self.skip_item(start);
            }
        }
        if program.probes.is_empty() && !self.diagnostics.has_errors() {
            let error = Diagnostic::error("no-probes", "the script has no probes", self.peek().span);
            self.diagnostics.push(error.because("a probe looks like this: kprobe:tcp_connect { @[comm] = count(); }"));
        }
        self.check_attach_points(&program);
        program
    }

    /// One probe, definition or block at the top of the script.
    fn item(&mut self, program: &mut Program) -> Result<()> {
        let token = self.peek().clone();
        let word = match &token.kind {
            TokenKind::Word(word) => word.as_str(),
            TokenKind::AttachPoint(_) => {
                program.probes.push(self.probe()?);
                return Ok(());
            }
            TokenKind::Symbol(";") => {
                self.bump();
                return Ok(());
            }
            TokenKind::Symbol("}") => {
                self.bump();
                let error = Diagnostic::error("unmatched-brace", "this brace closes nothing", token.span);
                self.diagnostics.push(error);
                return Ok(());
            }
            TokenKind::Symbol("{") | TokenKind::PredicateStart => {
                let error =
                    Diagnostic::error("missing-attach-point", "a probe begins with what it attaches to", token.span);
                return self.fail(error.because("for example: interval:s:1 { … }"));
            }
            _ => return self.unexpected("a probe"),
        };
        match word {
            "struct" | "union" | "enum" | "typedef" => {
                self.check_order(program, "definitions", token.span);
                self.definition(&mut program.definitions)
            }
            "config" => {
                self.check_order(program, "the `config` block", token.span);
                let config = self.config()?;
                if let Some(first) = &program.config {
                    let error = Diagnostic::error("second-config", "a script has one `config` block", config.span);
                    self.diagnostics.push(error.label(first.span, "the first one is here"));
                }
                program.config = Some(config);
                Ok(())
            }
            _ => self.refuse_item(word, token.span),
        }
    }

    /// Definitions and settings stand before the first probe, as in bpftrace.
    fn check_order(&mut self, program: &Program, what: &str, span: Span) {
        if let Some(probe) = program.probes.first() {
            let first = probe.attach_points.first().map_or(probe.span, |point| point.span);
            let error = Diagnostic::error("order", format!("{what} must stand before the first probe"), span);
            self.diagnostics.push(error.label(first, "the first probe"));
        }
    }

    /// What bpftrace has, or will have, and this language does not.
    fn refuse_item(&mut self, word: &str, span: Span) -> Result<()> {
        let (what, instead) = match word {
            "fn" => ("functions of a script's own are", "write the statements into the probe, or use `#define`"),
            "macro" => ("bpftrace's macros are", "use `#define NAME(x) …`"),
            "import" => ("imports are", "put everything into one script"),
            "let" => ("declarations of maps are", "a map is there from its first use on"),
            _ => return self.unexpected("a probe or a definition"),
        };
        self.fail(Diagnostic::error("unsupported", format!("{what} not part of this language"), span).because(instead))
    }

    /// Behind an error in what began at token `start`, goes to where the next probe or definition may begin.
    fn skip_item(&mut self, start: usize) {
        let failed = std::mem::replace(&mut self.at, start);
        let mut depth = 0_u32;
        while self.peek().kind != TokenKind::End {
            let ended = match self.bump().kind {
                TokenKind::Symbol("{") => {
                    depth += 1;
                    false
                }
                TokenKind::Symbol("}") => {
                    depth = depth.saturating_sub(1);
                    depth == 0
                }
                TokenKind::Symbol(";") => depth == 0,
                _ => false,
            };
            if ended && self.at > failed {
                return;
            }
        }
    }

    /// Reports attach points that mean nothing, as far as they can be read without the parameters.
    fn check_attach_points(&mut self, program: &Program) {
        for point in program.probes.iter().flat_map(|probe| &probe.attach_points) {
            if !attach::has_parameters(point)
                && let Err(error) = attach::resolve(point, &[])
            {
                self.diagnostics.push(*error);
            }
        }
    }
}
