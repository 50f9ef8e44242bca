//! Attach points: what they expand to on this kernel, and what a probe finds there.

use std::sync::Arc;

use synscope_btf::{Named, Parameter, Pattern};

use super::Checker;
use super::function::Wanted;
use super::memory::type_of;
use super::uses::Uses;
use crate::ast::{self, Provider};
use crate::attach::{Attachment, Site, is_pattern};
use crate::counters::Counter;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::target::{Period, Target};
use crate::tracefs::{self, Field};
use crate::typed::{Expression, ExpressionKind, Source};
use crate::types::{Access, Type};
use crate::untold::needed;

/// What a probe finds when it is hit.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// The attach point in full.
    pub(super) name: String,
    pub(super) arguments: Arguments,
    /// What `retval` means.
    pub(super) returned: Returned,
    /// What `func` means.
    pub(super) function: At,
    /// Whether it is hit with all registers.
    pub(super) registers: bool,
}

impl Context {
    pub(super) fn new(name: String, arguments: Arguments) -> Self {
        Self { name, arguments, ..Self::default() }
    }
}

/// What `args` and `arg0` mean.
#[derive(Debug, Clone, Default)]
pub(super) enum Arguments {
    #[default]
    None,
    /// None any more: a function returns, and the registers that it was called with hold something else.
    Gone,
    /// Numbers of eight bytes in the context.
    Values(Vec<Argument>),
    /// Fields of a record.
    Fields(Vec<Field>),
}

/// A value in a probe's context.
#[derive(Debug, Clone)]
pub(super) struct Argument {
    /// Its name, where the kernel's types tell it.
    pub(super) name: String,
    pub(super) ty: Type,
    /// Where it lies, in bytes from the context's start.
    pub(super) offset: i16,
}

impl Argument {
    pub(super) fn read(&self, ty: Type, span: Span) -> Expression {
        Expression { span, ty, kind: ExpressionKind::Source(Source::ContextPart(self.offset, 8)) }
    }
}

/// What `retval` means.
#[derive(Debug, Clone, Default)]
pub(super) enum Returned {
    /// The probe is not where a function returns.
    #[default]
    NotYet,
    /// The function returns nothing.
    Nothing,
    Value(Argument),
}

/// Where a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum At {
    /// At no function.
    #[default]
    Nowhere,
    /// At the function of this address.
    One(u64),
    /// At several functions: a helper tells which.
    Several,
}

/// A probe at one attach point.
#[derive(Debug)]
pub(super) struct Expanded<'p> {
    pub(super) probe: &'p ast::Probe,
    pub(super) target: Target,
    pub(super) span: Span,
    pub(super) context: Context,
}

impl Checker<'_> {
    /// One probe for each attach point and each match of a pattern.
    pub(super) fn expand<'p>(&mut self, program: &'p ast::Program) -> Vec<Expanded<'p>> {
        let mut expanded = Vec::new();
        let mut places = 0;
        for probe in &program.probes {
            let uses = Uses::of(probe);
            for point in &probe.attach_points {
                let Some(attachment) = self.attachment(point) else { continue };
                for (target, context) in self.targets(&attachment, &uses, point.span) {
                    places += target.places();
                    let settings = &self.settings;
                    let exceeded = if places > settings.max_probes as usize {
                        Some((settings.max_probes, "max_probes"))
                    } else if expanded.len() == settings.max_bpf_progs as usize {
                        Some((settings.max_bpf_progs, "max_bpf_progs"))
                    } else {
                        None
                    };
                    if let Some((most, setting)) = exceeded {
                        let message = format!("the script makes more than {most} probes");
                        let error = Diagnostic::error("too-many-probes", message, point.span);
                        self.report(error.because(self.limit_of(setting)));
                        return expanded;
                    }
                    expanded.push(Expanded { probe, target, span: point.span, context });
                }
            }
        }
        // Some may be missing, if the script says so, but not all.
        if let (true, false, Some(point)) = (expanded.is_empty(), self.diagnostics.has_errors(), first(program)) {
            self.error("no-probe", "this kernel has none of the script's probes", point.span);
        }
        expanded
    }

    fn targets(&mut self, attachment: &Attachment, uses: &Uses, span: Span) -> Vec<(Target, Context)> {
        let Attachment { provider, site } = attachment;
        let one = |target: Target, name: String| vec![(target, Context::new(name, Arguments::None))];
        match (provider, site) {
            (Provider::Begin, _) => one(Target::Begin, "BEGIN".to_owned()),
            (Provider::End, _) => one(Target::End, "END".to_owned()),
            (Provider::SelfProbe, Site::Signal(name)) => one(Target::Signal, format!("self:signal:{name}")),
            (Provider::Software | Provider::Hardware, Site::Event { name, count }) => {
                self.counter(*provider, name, *count, span).into_iter().collect()
            }
            (Provider::Interval | Provider::Profile, site) => {
                let (period, form) = match site {
                    Site::Rate(rate) => (Period::Rate(*rate), format!("hz:{rate}")),
                    Site::Every(every) if every % 1_000_000_000 == 0 => {
                        (Period::Every(*every), format!("s:{}", every / 1_000_000_000))
                    }
                    Site::Every(every) if every % 1_000_000 == 0 => {
                        (Period::Every(*every), format!("ms:{}", every / 1_000_000))
                    }
                    Site::Every(every) => (Period::Every(*every), format!("us:{}", every / 1_000)),
                    _ => return Vec::new(),
                };
                let every_cpu = *provider == Provider::Profile;
                one(Target::Clock { period, every_cpu }, format!("{}:{form}", provider.name()))
            }
            (Provider::RawTracepoint, Site::RawTracepoint { event, .. }) => {
                self.raw_tracepoints(event, uses.context(), span)
            }
            (Provider::Tracepoint, Site::Tracepoint { category, event }) => {
                self.tracepoints(category, event, uses.context(), span)
            }
            (_, Site::Function { module, function, offset }) => {
                let wanted = Wanted { provider: *provider, module: module.as_deref(), name: function, offset: *offset };
                self.functions(&wanted, uses, span)
            }
            _ => {
                let message = format!("probes of kind `{}` are not supported yet", provider.name());
                self.error("not-yet", message, span);
                Vec::new()
            }
        }
    }

    /// `software:faults:100`.
    fn counter(&mut self, provider: Provider, name: &str, count: Option<u64>, span: Span) -> Option<(Target, Context)> {
        let Some(counter) = Counter::find(provider, name, count.unwrap_or(0)) else {
            let message = format!("there is no {} event `{name}`", provider.name());
            let error = Diagnostic::error("no-probe", message, span);
            self.report(match Counter::near(provider, name) {
                Some(near) => error.because(format!("one is called `{near}`")),
                None => error,
            });
            return None;
        };
        // As it is written, like bpftrace; 0 stands for the usual number.
        let count = count.filter(|count| *count > 0).map_or_else(String::new, |count| format!(":{count}"));
        let context = Context::new(format!("{}:{name}{count}", provider.name()), Arguments::None);
        Some((Target::Counter(counter), context))
    }

    fn raw_tracepoints(&mut self, event: &str, arguments: bool, span: Span) -> Vec<(Target, Context)> {
        let environment = self.environment;
        let kernel = match environment.kernel() {
            Ok(kernel) => kernel,
            // Without types, a single tracepoint can be attached to all the same.
            Err(_) if !arguments && !is_pattern(event) => {
                let target = Target::RawTracepoint { event: event.to_owned(), typed: None };
                return vec![(target, Context::new(format!("rawtracepoint:{event}"), Arguments::None))];
            }
            Err(error) => {
                self.report(needed(error, span));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for btf in kernel.all() {
            for name in btf.raw_tracepoints(&Pattern::new(event)) {
                let Some(prototype) = btf.raw_tracepoint(name) else { continue };
                // The first parameter is the kernel's own.
                let parameters =
                    prototype.parameters.skip(1).enumerate().map(|(index, parameter)| {
                        argument(index, &parameter, type_of(btf, parameter.id, Access::Direct))
                    });
                let typed = btf.lookup(Named::Typedef, &format!("btf_trace_{name}")).map(|id| (Arc::clone(btf), id));
                let target = Target::RawTracepoint { event: name.to_owned(), typed: typed.filter(|_| arguments) };
                let arguments = Arguments::Values(parameters.collect());
                found.push((target, Context::new(format!("rawtracepoint:{name}"), arguments)));
            }
        }
        if found.is_empty() {
            let error = Diagnostic::error("no-probe", format!("this kernel has no raw tracepoint `{event}`"), span);
            let all: Vec<String> = kernel
                .all()
                .flat_map(|btf| btf.raw_tracepoints(&Pattern::new("*")).map(str::to_owned).collect::<Vec<_>>())
                .collect();
            self.absent(match crate::words::nearest(event, all.iter().map(String::as_str)) {
                Some(near) => error.because(format!("one is called `{near}`")),
                None => error,
            });
        }
        found
    }

    fn tracepoints(&mut self, category: &str, event: &str, arguments: bool, span: Span) -> Vec<(Target, Context)> {
        let found = match tracefs::events(category, event) {
            Ok(found) => found,
            Err(error) => {
                self.error("tracefs", error.to_string(), span);
                return Vec::new();
            }
        };
        if found.is_empty() {
            let message = format!("this kernel has no tracepoint `{category}:{event}`");
            let error = Diagnostic::error("no-probe", message, span);
            self.absent(match tracefs::near(category, event) {
                Some(near) => error.because(format!("one is called `{near}`")),
                None => error,
            });
        }
        let mut targets = Vec::new();
        for (category, event) in found {
            let name = format!("tracepoint:{category}:{event}");
            // A raw tracepoint of the same name fires at the same places and costs less, but knows no fields; system
            // calls all share two.
            if !arguments && self.has_raw(&category, &event) {
                let target = Target::RawTracepoint { event, typed: None };
                targets.push((target, Context::new(name, Arguments::None)));
                continue;
            }
            match tracefs::format(&category, &event, self.environment) {
                Ok((id, fields)) => {
                    targets.push((Target::Tracepoint { id }, Context::new(name, Arguments::Fields(fields))));
                }
                Err(error) => self.error("tracefs", error.to_string(), span),
            }
        }
        targets
    }

    fn has_raw(&self, category: &str, event: &str) -> bool {
        let kernel = self.environment.kernel();
        category != "syscalls" && kernel.is_ok_and(|kernel| kernel.vmlinux().raw_tracepoint(event).is_some())
    }
}

/// The first attach point of a script.
fn first(program: &ast::Program) -> Option<&ast::AttachPoint> {
    program.probes.iter().flat_map(|probe| &probe.attach_points).next()
}

/// An argument in a row of numbers.
pub(super) fn argument(index: usize, parameter: &Parameter<'_>, ty: Type) -> Argument {
    let name = if parameter.name.is_empty() { format!("arg{index}") } else { parameter.name.to_owned() };
    Argument { name, ty, offset: i16::try_from(index * 8).unwrap_or(i16::MAX) }
}
