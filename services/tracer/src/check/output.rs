//! Calls for their effect: what is sent to user space, and what maps gather.

use super::Checker;
use super::expression::number;
use super::memory::read;
use super::text::text_at;
use crate::ast::{self, ExpressionKind as Ast, Function};
use crate::diagnostic::Diagnostic;
use crate::format::{self, Format, Letter, Piece};
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind, Held, Output, Statement, StatementKind};
use crate::types::{Access, Aggregate, Type};

/// Bytes that one record of output has at most.
const MAX_RECORD: u32 = 1 << 15;

/// Texts that `join` takes at most, and the bytes of each, as in bpftrace.
const MAX_JOINED: i64 = 16;
const MAX_JOINED_TEXT: u32 = 1024;
/// Bytes of a pointer.
const POINTER: i64 = 8;

/// Ranges that a linear histogram has at most, as in bpftrace.
const MAX_LINEAR: i64 = 1000;

impl Checker<'_> {
    /// An expression that stands alone.
    pub(super) fn effect(&mut self, expression: &ast::Expression) -> Statement {
        let span = expression.span;
        let kind = match &expression.kind {
            Ast::Call { function, arguments, .. } => match self.effect_of(*function, arguments, span) {
                Some(kind) => kind,
                None => StatementKind::Evaluate(self.expression(expression)),
            },
            _ => StatementKind::Evaluate(self.expression(expression)),
        };
        Statement { span, kind }
    }

    /// A call that has an effect and no value; nothing if it is none of these.
    fn effect_of(&mut self, function: Function, arguments: &[ast::Expression], span: Span) -> Option<StatementKind> {
        Some(match function {
            Function::Printf | Function::Errorf => self.printf(function, arguments, span),
            Function::Print => self.print(arguments, span),
            Function::Clear | Function::Zero => {
                let Some(map) = self.whole_map(function, arguments, span) else { return Some(nothing(span)) };
                let output = if function == Function::Clear { Output::Clear(map) } else { Output::Zero(map) };
                self.send(output, Vec::new(), span)
            }
            Function::Exit => {
                let code = match arguments {
                    [] => number(0, Type::INT64, span),
                    [code] => self.integer(code),
                    [_, more, ..] => {
                        self.error("arguments", "`exit` takes one code", more.span);
                        return Some(nothing(span));
                    }
                };
                self.send(Output::Exit, vec![code], span)
            }
            Function::Time => {
                let format = match arguments {
                    [] => b"%H:%M:%S\n".to_vec(),
                    [format] => match self.literal_text(format) {
                        Some(format) => format,
                        None => return Some(nothing(span)),
                    },
                    [_, more, ..] => {
                        self.error("arguments", "`time` takes one format", more.span);
                        return Some(nothing(span));
                    }
                };
                self.send(Output::Time(String::from_utf8_lossy(&format).into_owned()), Vec::new(), span)
            }
            Function::Join => self.join(arguments, span),
            Function::Delete => self.delete(arguments, span),
            _ => return None,
        })
    }

    /// Text that must be known here.
    pub(super) fn literal_text(&mut self, text: &ast::Expression) -> Option<Vec<u8>> {
        match self.expression(text) {
            Expression { kind: ExpressionKind::Text(text), .. } => Some(text),
            other => {
                self.error("not-literal", "this text must be written out", other.span);
                None
            }
        }
    }

    fn send(&mut self, output: Output, values: Vec<Expression>, span: Span) -> StatementKind {
        let room: u32 = values.iter().map(|value| value.ty.room()).sum();
        if room > MAX_RECORD {
            self.error("output-too-large", format!("this sends {room} bytes, more than {MAX_RECORD}"), span);
        }
        let known = self.outputs.iter().position(|known| *known == output);
        let number = known.unwrap_or_else(|| {
            self.outputs.push(output);
            self.outputs.len() - 1
        });
        StatementKind::Send(number, values)
    }

    fn printf(&mut self, function: Function, arguments: &[ast::Expression], span: Span) -> StatementKind {
        let name = function.name();
        let Some((format, arguments)) = arguments.split_first() else {
            self.error("arguments", format!("`{name}` needs a format"), span);
            return nothing(span);
        };
        let Some(text) = self.literal_text(format) else { return nothing(span) };
        let pieces = match format::pieces(&text) {
            Ok(pieces) => pieces,
            Err(unusable) => {
                let message = format!("`{name}` knows no conversion `{}`", unusable.conversion);
                self.error("format", message, format.span);
                return nothing(span);
            }
        };
        let letters: Vec<Letter> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Value(conversion) => Some(conversion.letter),
                Piece::Text(_) => None,
            })
            .collect();
        let values: Vec<Expression> = arguments.iter().map(|argument| self.expression(argument)).collect();
        if letters.len() != values.len() {
            let plural = if letters.len() == 1 { "value" } else { "values" };
            let message = format!("the format has {} {plural}, and {} are given", letters.len(), values.len());
            self.report(Diagnostic::error("format", message, span).label(format.span, "the format"));
        }
        for (letter, value) in letters.iter().zip(&values) {
            if !takes(*letter, &value.ty) {
                let message = format!("`%{}` does not take `{}`", letter.symbol(), value.ty);
                let error = Diagnostic::error("format", message, value.span);
                let better = ["d", "s", "r"].into_iter().find(|better| takes_symbol(better, &value.ty));
                self.report(match better {
                    Some(better) => error.because(format!("`%{better}` does")),
                    None => error,
                });
            }
        }
        let values: Vec<Expression> = values.into_iter().map(stored).collect();
        let types = values.iter().map(|value| value.ty.clone()).collect();
        let format = Format { pieces, types };
        self.send(Output::Printf { format, error: function == Function::Errorf }, values, span)
    }

    /// `join(args.argv)`: texts by their pointers, up to one that is null or empty.
    fn join(&mut self, arguments: &[ast::Expression], span: Span) -> StatementKind {
        let (array, separator) = match arguments {
            [array] => (array, Some(b" ".to_vec())),
            [array, separator] => (array, self.literal_text(separator)),
            _ => {
                self.error("arguments", "`join` takes an array of texts, and what stands between them", span);
                return nothing(span);
            }
        };
        let array = self.integer(array);
        let Some(separator) = separator else { return nothing(span) };
        let access = match &array.ty {
            Type::Pointer { access, .. } => *access,
            _ => Access::Kernel,
        };
        let size = self.settings.max_strlen.min(MAX_JOINED_TEXT);
        let text = |index: i64| {
            let pointer = Type::Pointer { to: Box::new(Type::None), access };
            let pointer = read(pointer, Box::new(array.clone()), index * POINTER, access, None, span);
            text_at(pointer, 0, access, None, Type::Text(size), span)
        };
        self.send(Output::Join { separator, size }, (0..MAX_JOINED).map(text).collect(), span)
    }

    fn print(&mut self, arguments: &[ast::Expression], span: Span) -> StatementKind {
        let (first, numbers) = match arguments {
            [first, numbers @ ..] if numbers.len() <= 2 => (first, numbers),
            _ => {
                self.error("arguments", "`print` takes a value, or a map and up to two numbers", span);
                return nothing(span);
            }
        };
        let Ast::Map(access) = &first.kind else {
            if let Some(number) = numbers.first() {
                self.error("arguments", "only maps are printed with further numbers", number.span);
            }
            let value = stored(self.expression(first));
            if value.ty == Type::None {
                self.error("no-value", "this has no value to print", value.span);
            }
            return self.send(Output::Value(value.ty.clone()), vec![value], span);
        };
        let map = self.map(&access.name);
        if access.key.is_some() {
            // An entry's value, without its name.
            if let Some(Held::Gathered(aggregate)) = self.held(map)
                && aggregate.total().is_none()
            {
                let message = format!("entries of type `{}` are printed with their whole map", aggregate.name());
                self.error("gathered-value", message, first.span);
                return nothing(span);
            }
            let value = stored(self.expression(first));
            return self.send(Output::Value(value.ty.clone()), vec![value], span);
        }
        if self.last && self.held(map).is_none() {
            self.undefined_map(map, first.span);
        }
        let mut given = Vec::new();
        for number in numbers {
            match self.expression(number) {
                Expression { kind: ExpressionKind::Int(value @ 0..), .. } => given.push(value.cast_unsigned()),
                other => self.error("arguments", "this number must be written out", other.span),
            }
        }
        let top = given.first().copied().unwrap_or(0);
        let divisor = given.get(1).copied().unwrap_or(0);
        self.send(Output::Map { map, top, divisor }, Vec::new(), span)
    }

    /// The map that a function takes whole.
    fn whole_map(&mut self, function: Function, arguments: &[ast::Expression], span: Span) -> Option<usize> {
        match arguments {
            [ast::Expression { kind: Ast::Map(access), .. }] if access.key.is_none() => {
                let map = self.map(&access.name);
                if self.last && self.held(map).is_none() {
                    self.undefined_map(map, access.span);
                }
                Some(map)
            }
            _ => {
                self.error("arguments", format!("`{}` takes a map without a key", function.name()), span);
                None
            }
        }
    }

    /// `delete(@x[key])`, `delete(@x, key)`, `delete(@x)`.
    fn delete(&mut self, arguments: &[ast::Expression], span: Span) -> StatementKind {
        let entry = match arguments {
            [ast::Expression { kind: Ast::Map(access), .. }] => self.entry(access),
            [ast::Expression { kind: Ast::Map(access), .. }, key] if access.key.is_none() => {
                let map = self.map(&access.name);
                let key = self.expression(key);
                self.entry_of(map, Some(key), span)
            }
            _ => {
                self.error("arguments", "`delete` takes an entry of a map, or a map and a key", span);
                return nothing(span);
            }
        };
        self.refuse_parted(&entry, "`delete` cannot take one out", span);
        StatementKind::Delete(entry)
    }

    /// `@x[key] = count()` and its like; nothing if the function does not gather.
    pub(super) fn gather(
        &mut self,
        access: &ast::MapAccess,
        function: Function,
        arguments: &[ast::Expression],
        span: Span,
    ) -> Option<StatementKind> {
        let takes = match function {
            Function::Count => 0..=0,
            Function::Sum | Function::Avg | Function::Min | Function::Max | Function::Stats => 1..=1,
            Function::Hist => 1..=2,
            Function::Lhist => 4..=4,
            Function::Tseries => return Some(self.series(access, arguments, span)),
            _ => return None,
        };
        let entry = self.entry(access);
        if !takes.contains(&arguments.len()) {
            let message =
                format!("`{}` takes {} arguments, and {} are given", function.name(), takes.end(), arguments.len());
            self.error("arguments", message, span);
            return Some(nothing(span));
        }
        let value = arguments.first().map(|value| self.integer(value));
        let rest = arguments.get(1..).unwrap_or_default();
        let numbers: Vec<Option<i64>> = rest.iter().map(|number| self.written_number(number)).collect();
        let signed = value.as_ref().is_some_and(|value| value.ty.is_signed());
        let aggregate = match (function, numbers.as_slice()) {
            (Function::Count, _) => Aggregate::Count,
            (Function::Sum, _) => Aggregate::Sum { signed },
            (Function::Avg, _) => Aggregate::Average { signed },
            (Function::Min, _) => Aggregate::Min { signed },
            (Function::Max, _) => Aggregate::Max { signed },
            (Function::Stats, _) => Aggregate::Stats { signed },
            (Function::Hist, []) => Aggregate::Log2 { bits: 0 },
            (Function::Hist, [Some(bits @ 0..=5)]) => Aggregate::Log2 { bits: u8::try_from(*bits).unwrap_or(0) },
            (Function::Hist, _) => {
                self.error("arguments", "`hist` cuts its ranges by 0 to 5 bits", span);
                return Some(nothing(span));
            }
            (_, [Some(min), Some(max), Some(step)]) if *step > 0 && min < max => {
                let ranges = max.saturating_sub(*min) / step;
                if ranges > MAX_LINEAR {
                    let message = format!("`lhist` has at most {MAX_LINEAR} ranges, and this has {ranges}");
                    self.error("arguments", message, span);
                    return Some(nothing(span));
                }
                Aggregate::Linear { min: *min, max: *max, step: *step }
            }
            _ => {
                self.error("arguments", "`lhist` takes a value, a smaller, a larger and a positive number", span);
                return Some(nothing(span));
            }
        };
        self.gathers(entry.map, aggregate, access.span);
        Some(StatementKind::Gather(entry, value))
    }

    pub(super) fn written_number(&mut self, number: &ast::Expression) -> Option<i64> {
        match self.integer(number) {
            Expression { kind: ExpressionKind::Int(value), .. } => Some(value),
            other => {
                self.error("arguments", "this number must be written out", other.span);
                None
            }
        }
    }
}

/// What a statement does that was not understood.
pub(super) fn nothing(span: Span) -> StatementKind {
    StatementKind::Evaluate(super::expression::unknown(span))
}

/// A value on its way out.
fn stored(mut value: Expression) -> Expression {
    value.ty = value.ty.stored();
    value
}

fn takes_symbol(symbol: &str, ty: &Type) -> bool {
    let letter = match symbol {
        "d" => Letter::Signed,
        "s" => Letter::Text,
        _ => Letter::Bytes,
    };
    takes(letter, ty)
}

/// Whether a conversion takes a value of a type.
fn takes(letter: Letter, ty: &Type) -> bool {
    match letter {
        Letter::Text => {
            matches!(
                ty,
                Type::Text(_)
                    | Type::Enum(_)
                    | Type::Stack(..)
                    | Type::Symbol(_)
                    | Type::Address
                    | Type::Mac
                    | Type::Time(_)
                    | Type::Error
                    | Type::Unknown
            )
        }
        Letter::Bytes | Letter::HexBytes | Letter::PlainHexBytes => matches!(ty, Type::Bytes(_) | Type::Unknown),
        _ => ty.is_integral() || *ty == Type::Unknown,
    }
}
