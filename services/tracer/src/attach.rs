//! What attach points mean: the parts between the colons, by provider.

use crate::ast::{AttachPoint, Part, Piece, Provider};
use crate::diagnostic::Diagnostic;
use crate::lex;
use crate::source::Span;
use crate::words::nearest;

/// A diagnostic is large, so it goes in a box.
type Result<T> = std::result::Result<T, Box<Diagnostic>>;

fn refuse<T>(error: Diagnostic) -> Result<T> {
    Err(Box::new(error))
}

/// An attach point with its parameters filled in and its parts told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The kind of probe.
    pub provider: Provider,
    /// Where it attaches.
    pub site: Site,
}

/// Where a probe attaches. Names may be patterns: see [`is_pattern`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// The start or end of the trace.
    Trace,
    /// A signal to the tracer itself.
    Signal(String),
    /// A kernel function.
    Function {
        /// Its module, if written.
        module: Option<String>,
        /// Its name.
        function: String,
        /// Bytes behind its start.
        offset: u64,
    },
    /// A tracepoint with its category.
    Tracepoint {
        /// For example `sched`.
        category: String,
        /// For example `sched_switch`.
        event: String,
    },
    /// A raw tracepoint.
    RawTracepoint {
        /// Its module, if written (0.24).
        module: Option<String>,
        /// Its name.
        event: String,
    },
    /// Time that passes between two hits, in nanoseconds.
    Every(u64),
    /// Hits per second.
    Rate(u64),
    /// A software or hardware event, counted.
    Event {
        /// Its name.
        name: String,
        /// How many events make a hit, if written.
        count: Option<u64>,
    },
    /// The parts of a probe that this crate does not look into: user space, watchpoints, iterators.
    Parts(Vec<String>),
}

/// Whether a name stands for several: it has a `*` or a class such as `[ab]`.
pub fn is_pattern(name: &str) -> bool {
    name.contains('*') || (name.contains('[') && name.contains(']'))
}

/// Whether positional parameters stand in the attach point.
pub fn has_parameters(point: &AttachPoint) -> bool {
    point.parts.iter().flat_map(|part| &part.pieces).any(|piece| matches!(piece, Piece::Positional(_)))
}

/// One attach point for each provider that a pattern such as `*ware:cpu-*` names; others stay as they are.
pub fn expand_provider(point: AttachPoint) -> Vec<AttachPoint> {
    let Some((Part { pieces, span }, rest)) = point.parts.split_first() else { return vec![point] };
    let [Piece::Text(pattern)] = pieces.as_slice() else { return vec![point] };
    if !is_pattern(pattern) || rest.is_empty() {
        return vec![point];
    }
    let named = Provider::listed().iter().filter(|provider| matches(pattern, provider.name()));
    let with = |provider: &Provider| {
        let first = Part { span: *span, pieces: vec![Piece::Text(provider.name().to_owned())] };
        AttachPoint { span: point.span, parts: std::iter::once(first).chain(rest.iter().cloned()).collect() }
    };
    // Providers that take another number of parts are left out, as in bpftrace.
    let expanded: Vec<AttachPoint> =
        named.map(with).filter(|point| has_parameters(point) || resolve(point, &[]).is_ok()).collect();
    if expanded.is_empty() { vec![point] } else { expanded }
}

/// Whether a name fits a pattern of letters and `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([], []) => return true,
            ([b'*', after @ ..], _) => {
                retry = Some((after, name));
                pattern = after;
            }
            ([wanted, after @ ..], [found, others @ ..]) if wanted == found => (pattern, name) = (after, others),
            _ => match retry {
                Some((after, [_, others @ ..])) => {
                    retry = Some((after, others));
                    (pattern, name) = (after, others);
                }
                _ => return false,
            },
        }
    }
}

/// The words between the colons, behind the provider.
type Words<'a> = &'a [(String, Span)];

/// Tells the parts of an attach point apart; `parameters` are those of the script, `$1` first.
pub fn resolve(point: &AttachPoint, parameters: &[String]) -> Result<Attachment> {
    let words = point.parts.iter().map(|part| Ok((text(part, parameters)?, part.span)));
    let words: Vec<(String, Span)> = words.collect::<Result<_>>()?;
    let Some(((first, span), rest)) = words.split_first() else {
        return refuse(Diagnostic::error("attach-point", "this attach point is empty", point.span));
    };
    let provider = Provider::from_word(first).ok_or_else(|| Box::new(unknown_provider(first, *span)))?;
    let site = site(provider, rest, point.span)?;
    Ok(Attachment { provider, site })
}

fn text(part: &Part, parameters: &[String]) -> Result<String> {
    let mut text = String::new();
    for piece in &part.pieces {
        match piece {
            Piece::Text(own) => text.push_str(own),
            Piece::Positional(number) => {
                let Some(value) = parameters.get((*number as usize).saturating_sub(1)) else {
                    let message = format!("the script needs a parameter `${number}`");
                    return refuse(Diagnostic::error("missing-parameter", message, part.span));
                };
                text.push_str(value);
            }
        }
    }
    Ok(text)
}

fn unknown_provider(word: &str, span: Span) -> Diagnostic {
    if word.is_empty() {
        return Diagnostic::error("unknown-provider", "an attach point begins with the kind of probe", span);
    }
    let error = Diagnostic::error("unknown-provider", format!("there is no kind of probe `{word}`"), span);
    match nearest(word, Provider::ALL.iter().map(|provider| provider.name())) {
        Some(near) => error.suggest(span, near, "a kind of probe has a similar name"),
        None => {
            error.because("kinds of probes are BEGIN, END, kprobe, fentry, tracepoint, interval, profile and others")
        }
    }
}

fn site(provider: Provider, words: Words, span: Span) -> Result<Site> {
    let owned = |index: usize| words.get(index).map_or_else(String::new, |(text, _)| text.clone());
    if let Some((_, empty)) = words.iter().find(|(text, _)| text.is_empty()) {
        let error = Diagnostic::error("attach-point", "there is nothing behind this colon", empty.before());
        return refuse(error.label(span, form(provider)));
    }
    match (provider, words.len()) {
        (Provider::Begin | Provider::End, 0) => Ok(Site::Trace),
        (Provider::SelfProbe, 2) => signal(words),
        (Provider::Kprobe | Provider::Kretprobe | Provider::Fentry | Provider::Fexit, 1 | 2) => {
            function(provider, words)
        }
        (Provider::Tracepoint, 1) if is_pattern(&owned(0)) => {
            Ok(Site::Tracepoint { category: "*".to_owned(), event: owned(0) })
        }
        (Provider::Tracepoint, 2) => Ok(Site::Tracepoint { category: owned(0), event: owned(1) }),
        (Provider::RawTracepoint, 1) => Ok(Site::RawTracepoint { module: None, event: owned(0) }),
        (Provider::RawTracepoint, 2) => Ok(Site::RawTracepoint { module: Some(owned(0)), event: owned(1) }),
        (Provider::Interval | Provider::Profile, 1 | 2) => clock(words),
        (Provider::Software | Provider::Hardware, 1) => Ok(Site::Event { name: owned(0), count: None }),
        (Provider::Software | Provider::Hardware, 2) => {
            let count = words.get(1).filter(|(text, _)| text != "*").map(number).transpose()?;
            Ok(Site::Event { name: owned(0), count })
        }
        (Provider::Uprobe | Provider::Uretprobe | Provider::Usdt, 2 | 3)
        | (Provider::Watchpoint | Provider::AsyncWatchpoint, 3)
        | (Provider::Iter, 1 | 2) => Ok(Site::Parts(words.iter().map(|(text, _)| text.clone()).collect())),
        (_, found) => {
            let message =
                format!("`{}` does not take {found} {}", provider.name(), if found == 1 { "part" } else { "parts" });
            refuse(Diagnostic::error("attach-point", message, span).here(form(provider)))
        }
    }
}

/// How an attach point of a provider is written.
fn form(provider: Provider) -> String {
    let form = match provider {
        Provider::Begin => "BEGIN",
        Provider::End => "END",
        Provider::SelfProbe => "self:signal:SIGUSR1",
        Provider::Kprobe => "kprobe:function, kprobe:module:function or kprobe:function+offset",
        Provider::Kretprobe => "kretprobe:function or kretprobe:module:function",
        Provider::Fentry => "fentry:function or fentry:module:function",
        Provider::Fexit => "fexit:function or fexit:module:function",
        Provider::Tracepoint => "tracepoint:category:event",
        Provider::RawTracepoint => "rawtracepoint:event",
        Provider::Interval => "interval:s:1, interval:ms:100, interval:hz:10 or interval:1s",
        Provider::Profile => "profile:hz:99, profile:ms:10 or profile:10ms",
        Provider::Software => "software:event or software:event:count",
        Provider::Hardware => "hardware:event or hardware:event:count",
        Provider::Uprobe => "uprobe:file:function",
        Provider::Uretprobe => "uretprobe:file:function",
        Provider::Usdt => "usdt:file:probe or usdt:file:provider:probe",
        Provider::Watchpoint => "watchpoint:address:length:mode",
        Provider::AsyncWatchpoint => "asyncwatchpoint:address:length:mode",
        Provider::Iter => "iter:object or iter:object:pin",
    };
    format!("it is written {form}")
}

fn number((text, span): &(String, Span)) -> Result<u64> {
    lex::number_value(text).map_err(|reason| {
        let error = Diagnostic::error("attach-point", format!("`{text}` is not a number"), *span);
        Box::new(error.here(reason))
    })
}

fn signal(words: Words) -> Result<Site> {
    match words {
        [(kind, _), (name, _)] if kind == "signal" && name == "SIGUSR1" => Ok(Site::Signal(name.clone())),
        [(kind, _), (name, span)] if kind == "signal" => {
            let error =
                Diagnostic::error("attach-point", format!("scripts cannot wait for the signal `{name}`"), *span);
            refuse(error.suggest(*span, "SIGUSR1", "this one they can"))
        }
        [(kind, span), ..] => {
            let error = Diagnostic::error("attach-point", format!("there is no `{kind}` to wait for"), *span);
            refuse(error.suggest(*span, "signal", "what there is"))
        }
        [] => Ok(Site::Trace),
    }
}

fn function(provider: Provider, words: Words) -> Result<Site> {
    let module = if words.len() == 2 { words.first().map(|(text, _)| text.clone()) } else { None };
    let Some((text, span)) = words.last() else { return Ok(Site::Trace) };
    let Some((name, written)) = text.split_once('+') else {
        return Ok(Site::Function { module, function: text.clone(), offset: 0 });
    };
    if provider != Provider::Kprobe {
        let message = format!("`{}` attaches to whole functions, without an offset", provider.name());
        return refuse(Diagnostic::error("attach-point", message, *span));
    }
    if name.is_empty() {
        return refuse(Diagnostic::error("attach-point", "an offset belongs to a function", *span));
    }
    let offset = number(&(written.to_owned(), *span))?;
    Ok(Site::Function { module, function: name.to_owned(), offset })
}

/// Units of intervals and their nanoseconds.
const UNITS: &[(&str, u64)] = &[("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];

fn clock(words: Words) -> Result<Site> {
    let too_short = |span: Span| {
        let error = Diagnostic::error("attach-point", "this is less than a microsecond", span);
        error.because("a number without a unit counts nanoseconds; write `1s`, `10ms`, `50us`")
    };
    let (unit, written) = match words {
        [only] => {
            let nanoseconds = number(only)?;
            return if nanoseconds < 1_000 { refuse(too_short(only.1)) } else { Ok(Site::Every(nanoseconds)) };
        }
        [unit, written, ..] => (unit, written),
        [] => return Ok(Site::Trace),
    };
    let count = number(written)?;
    if count == 0 {
        return refuse(Diagnostic::error("attach-point", "a clock cannot stand still", written.1));
    }
    if unit.0 == "hz" {
        return Ok(Site::Rate(count));
    }
    let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit.0) else {
        let error = Diagnostic::error("attach-point", format!("there is no unit `{}`", unit.0), unit.1);
        return refuse(error.because("units are s, ms, us and, for a rate, hz"));
    };
    let total = count.checked_mul(*nanoseconds);
    match total {
        Some(nanoseconds) => Ok(Site::Every(nanoseconds)),
        None => refuse(Diagnostic::error("attach-point", "this time is too long", written.1)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_of_providers() {
        assert!(matches("k*probe", "kprobe") && matches("*", "x") && matches("*ware", "software"));
        assert!(!matches("k*probe", "kprobes") && !matches("t*", "kprobe") && matches("*a*b", "xaxab"));
    }
}
