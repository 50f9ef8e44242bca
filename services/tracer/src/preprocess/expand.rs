//! Macros put in the place of their names.

use std::rc::Rc;

use super::{MAX_MACRO_DEPTH, MAX_TOKENS, Macro, Preprocessor};
use crate::diagnostic::Diagnostic;
use crate::lex::{Token, TokenKind};
use crate::source::Span;

impl Preprocessor<'_, '_> {
    /// Expands macros in tokens; `active` names those whose bodies are being expanded.
    pub(super) fn expand(&mut self, tokens: &[Token], active: &mut Vec<String>) -> Vec<Token> {
        let mut expanded = Vec::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            if self.budget == 0 {
                return expanded;
            }
            let name = token.kind.word().filter(|word| self.macros.contains_key(*word));
            let Some((name, found)) = name.and_then(|name| Some((name, Rc::clone(self.macros.get(name)?)))) else {
                self.spend(token.span);
                expanded.push(token.clone());
                continue;
            };
            let after = tokens.get(at..).unwrap_or_default();
            let call = after.first().is_some_and(|next| next.kind.is("("));
            if is_itself(name, &found) || (found.parameters.is_some() && !call) {
                expanded.push(token.clone());
                continue;
            }
            let (arguments, used) = if found.parameters.is_some() { arguments(after) } else { (Vec::new(), 0) };
            at += used;
            let close = used.checked_sub(1).and_then(|last| after.get(last));
            let place = close.map_or(token.span, |close| token.span.to(close.span));
            if self.may_expand(name, &found, &arguments, place, active) {
                self.expansions.insert(place);
                expanded.extend(self.put(name, &found, &arguments, place, active));
            }
        }
        expanded
    }

    /// The expansion of one use.
    fn put(
        &mut self,
        name: &str,
        found: &Macro,
        arguments: &[&[Token]],
        place: Span,
        active: &mut Vec<String>,
    ) -> Vec<Token> {
        self.depth += 1;
        let ready: Vec<Vec<Token>> = arguments.iter().map(|argument| self.expand(argument, active)).collect();
        let parameters = found.parameters.as_deref().unwrap_or_default();
        let mut body = Vec::new();
        for token in &found.body {
            self.spend(place);
            let parameter = token.kind.word().and_then(|word| parameters.iter().position(|own| own == word));
            match parameter.and_then(|index| ready.get(index)) {
                Some(argument) if body.len() + argument.len() <= MAX_TOKENS => body.extend(argument.iter().cloned()),
                Some(_) => self.budget = self.budget.min(1),
                None => body.push(Token { kind: token.kind.clone(), span: place }),
            }
        }
        active.push(name.to_owned());
        let expanded = self.expand(&body, active);
        active.pop();
        self.depth -= 1;
        expanded
    }

    fn may_expand(
        &mut self,
        name: &str,
        found: &Macro,
        arguments: &[&[Token]],
        place: Span,
        active: &[String],
    ) -> bool {
        self.spend(place);
        let error = if active.iter().any(|outer| outer == name) {
            Diagnostic::error("macro-recursion", format!("the macro `{name}` uses itself"), place)
        } else if self.depth >= MAX_MACRO_DEPTH {
            let message = format!("macros use macros more than {MAX_MACRO_DEPTH} deep");
            Diagnostic::error("macro-depth", message, place)
        } else if let Some(parameters) = found.parameters.as_ref().filter(|own| own.len() != arguments.len()) {
            let message = format!("the macro `{name}` takes {}, not {}", count(parameters.len()), arguments.len());
            Diagnostic::error("macro-arguments", message, place)
        } else {
            return self.budget > 0;
        };
        let error = match found.defined {
            Some(defined) => error.label(defined, format!("`{name}` is defined here")),
            None => error,
        };
        self.diagnostics.push(error);
        false
    }

    /// Takes one step from the budget and says so when it was the last.
    fn spend(&mut self, place: Span) {
        if self.budget == 1 {
            let message = format!("with its macros expanded the script has more than {MAX_TOKENS} tokens");
            self.diagnostics.push(Diagnostic::error("script-too-large", message, place));
        }
        self.budget = self.budget.saturating_sub(1);
    }
}

fn count(parameters: usize) -> String {
    if parameters == 1 { "1 argument".to_owned() } else { format!("{parameters} arguments") }
}

/// `#define X X`, as headers have it for constants of enums.
fn is_itself(name: &str, found: &Macro) -> bool {
    found.parameters.is_none() && matches!(found.body.as_slice(), [only] if only.kind.word() == Some(name))
}

/// The arguments in parentheses at the beginning of `tokens`, and how many tokens they take. Without a closing
/// parenthesis everything is an argument.
fn arguments(tokens: &[Token]) -> (Vec<&[Token]>, usize) {
    let mut arguments = Vec::new();
    let (mut depth, mut start) = (0_usize, 1);
    for (at, token) in tokens.iter().enumerate() {
        let TokenKind::Symbol(symbol) = token.kind else { continue };
        match symbol {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "," if depth == 1 => {
                arguments.push(tokens.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            if at > start || !arguments.is_empty() {
                arguments.push(tokens.get(start..at).unwrap_or_default());
            }
            return (arguments, at + 1);
        }
    }
    arguments.push(tokens.get(start..).unwrap_or_default());
    (arguments, tokens.len())
}
