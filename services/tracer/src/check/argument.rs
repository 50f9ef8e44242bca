//! A probe's arguments by name, and what the kernel's types say of them.

use super::Checker;
use super::expression::unknown;
use super::probe::Arguments;
use crate::ast;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind, Source};
use crate::types::Type;
use crate::words::nearest;

impl Checker<'_> {
    /// `args.name`: one of the probe's own arguments.
    pub(super) fn args_field(&mut self, name: &ast::Name, span: Span) -> Expression {
        let (found, known): (_, Vec<String>) = match &self.probe.arguments {
            Arguments::None => (None, Vec::new()),
            Arguments::Gone => return self.gone(span),
            Arguments::Values(arguments) => {
                let found = arguments.iter().find(|argument| argument.name == name.text);
                let names = arguments.iter().filter(|argument| !argument.name.is_empty());
                let value = found.map(|argument| argument.read(argument.ty.clone(), span));
                (value, names.map(|argument| argument.name.clone()).collect())
            }
            Arguments::Fields(fields) => {
                let found = fields.iter().find(|field| field.name == name.text);
                (found.map(|field| field.read(span)), fields.iter().map(|field| field.name.clone()).collect())
            }
        };
        found.unwrap_or_else(|| {
            let message = format!("`{}` has no argument `{}`", self.probe.name, name.text);
            let error = Diagnostic::error("unknown-argument", message, name.span);
            let near = nearest(&name.text, known.iter().map(String::as_str));
            self.report(match near {
                Some(near) => error.suggest(name.span, near, "an argument has a similar name"),
                None if known.is_empty() => error.because("this probe has no arguments by name"),
                None => error.because(format!("its arguments are {}", known.join(", "))),
            });
            unknown(span)
        })
    }

    /// What the kernel's types say of an argument that is taken as a plain number.
    pub(super) fn argument_type(&self, value: &Expression) -> Option<&Type> {
        let ExpressionKind::Source(Source::ContextPart(offset, 8)) = value.kind else { return None };
        let Arguments::Values(arguments) = &self.probe.arguments else { return None };
        arguments.iter().find(|argument| argument.offset == offset).map(|argument| &argument.ty)
    }

    /// Warns of `(struct sk_buff *)arg1` where the kernel's types know that argument as another struct's pointer.
    pub(super) fn argument_taken_for_another(&mut self, wanted: &Type, value: &Expression) {
        let record = |ty: &Type| match ty {
            Type::Pointer { to, .. } => matches!(**to, Type::Record(_)).then(|| (**to).clone()),
            _ => None,
        };
        let (Some(wanted), Some(known)) = (record(wanted), self.argument_type(value).and_then(record)) else { return };
        // A script may define a struct of the kernel's for itself.
        if wanted.to_string() == known.to_string() {
            return;
        }
        let Arguments::Values(arguments) = &self.probe.arguments else { return };
        let right = arguments.iter().position(|argument| record(&argument.ty).as_ref() == Some(&wanted));
        let message = format!("this argument of `{}` is `{known} *`, not `{wanted} *`", self.probe.name);
        let warning = Diagnostic::warning("argument-type", message, value.span);
        self.report(match right {
            Some(index) => warning.suggest(value.span, format!("arg{index}"), "this one is"),
            None => warning.because("the kernel's types say so; what is read through it means nothing"),
        });
    }
}
