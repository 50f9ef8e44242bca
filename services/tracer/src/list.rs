//! What this kernel has that scripts can attach to or use, by name or pattern.

use std::io;
use std::sync::Arc;

use synscope_btf::{Btf, BtfError, Named, Pattern, TypeId};

use crate::ast::Provider;
use crate::attach::{Attachment, Site, resolve};
use crate::check::Environment;
use crate::counters;
use crate::diagnostic::{Diagnostic, Severity};
use crate::lockdown;
use crate::parse::parse;
use crate::source::Source;
use crate::target::KernelFunction;
use crate::tracefs::{self, TracefsError};
use crate::untold::{remedy, untold};

/// Something that scripts can use, as they write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// A probe, or a type.
    pub name: String,
    /// Where details are wanted: a probe's arguments or fields as C declares them, or what a type is.
    pub details: Vec<String>,
}

/// Why a list cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is no pattern of probes.
    #[error("{}", .0.message)]
    Pattern(Box<Diagnostic>),
    /// Tracepoints cannot be read.
    #[error(transparent)]
    Tracepoints(#[from] TracefsError),
    /// The kernel's types cannot be read: why, and what to do about it.
    #[error("the kernel's types cannot be read: {0} ({1})")]
    Types(String, &'static str),
    /// The kernel does not tell which functions it lets be traced.
    #[error("the functions that can be traced cannot be read: {0}")]
    Functions(String),
}

impl ListError {
    fn functions(error: &io::Error) -> Self {
        let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
        let why = forbidden.then(|| lockdown::why("the list of functions in tracefs")).flatten();
        Self::Functions(why.map_or_else(|| error.to_string(), |why| format!("{error} ({why})")))
    }

    pub(crate) fn types(error: &BtfError) -> Self {
        Self::Types(untold(error), remedy(error))
    }
}

/// The units of clocks.
const UNITS: [&str; 4] = ["hz", "ms", "s", "us"];

/// Everything like a pattern: `kprobe:tcp_*`, `*:tcp_*` or `tcp_*` of any kind, `struct tcp_*`. Kinds that are named by a
/// pattern are left out where this kernel does not tell what there is.
pub fn search(pattern: &str, details: bool, environment: &Environment) -> Result<Vec<Listed>, ListError> {
    for (word, named) in [("struct ", Named::Struct), ("union ", Named::Union), ("enum ", Named::Enum)] {
        if let Some(name) = pattern.strip_prefix(word) {
            return types(word, named, name.trim(), details, environment);
        }
    }
    let (pattern, any) = match pattern.split_once(':') {
        None => (format!("*:{pattern}"), true),
        Some((provider @ ("interval" | "profile"), "*")) => {
            let form = |unit: &str| Listed { name: format!("{provider}:{unit}:"), details: Vec::new() };
            return Ok(UNITS.map(form).into());
        }
        Some((provider, _)) => (pattern.to_owned(), provider.contains('*')),
    };
    let parsed = parse(&Source::new("pattern", format!("{pattern} {{ }}")));
    if let Some(error) = parsed.diagnostics.into_iter().find(|found| found.severity == Severity::Error) {
        return Err(ListError::Pattern(Box::new(error)));
    }
    let points = parsed.program.into_iter().flat_map(|program| program.probes).flat_map(|probe| probe.attach_points);
    let mut found = Vec::new();
    for point in points {
        let attachment = resolve(&point, &environment.parameters).map_err(ListError::Pattern)?;
        match probes(&attachment, details, environment) {
            Ok(more) => found.extend(more),
            Err(_untold) if any => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The probes that an attach point stands for on this kernel.
pub fn probes(attachment: &Attachment, details: bool, environment: &Environment) -> Result<Vec<Listed>, ListError> {
    let Attachment { provider, site } = attachment;
    match site {
        Site::Tracepoint { category, event } => {
            let listed = |(category, event): (String, String)| {
                let details = if details { tracefs::declarations(&category, &event)? } else { Vec::new() };
                Ok(Listed { name: format!("tracepoint:{category}:{event}"), details })
            };
            tracefs::events(category, event)?.into_iter().map(listed).collect()
        }
        Site::RawTracepoint { event, .. } => {
            let kernel = environment.kernel().map_err(ListError::types)?;
            let pattern = Pattern::new(event);
            let of = |btf: &Arc<Btf>| {
                let listed = |name: &str| Listed {
                    name: format!("rawtracepoint:{name}"),
                    details: if details { raw_arguments(btf, name) } else { Vec::new() },
                };
                btf.raw_tracepoints(&pattern).map(listed).collect::<Vec<_>>()
            };
            let mut found: Vec<Listed> = kernel.all().flat_map(of).collect();
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        }
        Site::Function { module, function, .. } => {
            let traceable = environment.traceable().map_err(ListError::functions)?;
            let (found, _of_one_name) = traceable.like(module.as_deref(), function);
            let listed = |function: KernelFunction| Listed {
                name: match (provider, &function.module) {
                    (Provider::Fentry | Provider::Fexit, _) | (_, Some(_)) => {
                        format!("{}:{}:{}", provider.name(), function.home(), function.name)
                    }
                    (_, None) => format!("{}:{}", provider.name(), function.name),
                },
                details: if details { arguments(*provider, &function, environment) } else { Vec::new() },
            };
            Ok(found.into_iter().map(listed).collect())
        }
        Site::Event { name, .. } => {
            let pattern = Pattern::new(name);
            let like = counters::names(*provider).filter(|name| pattern.matches(name));
            let listed = |name| Listed { name: format!("{}:{name}:", provider.name()), details: Vec::new() };
            Ok(like.map(listed).collect())
        }
        Site::Trace | Site::Signal(_) | Site::Every(_) | Site::Rate(_) | Site::Parts(_) => Ok(Vec::new()),
    }
}

/// What a raw tracepoint's programs get; the kernel's own first parameter is not among it.
fn raw_arguments(btf: &Btf, name: &str) -> Vec<String> {
    let Some(prototype) = btf.raw_tracepoint(name) else { return Vec::new() };
    prototype.parameters.skip(1).filter_map(|parameter| declared(btf, parameter.id, parameter.name).ok()).collect()
}

/// What a function's probe knows, where the kernel's types tell it.
fn arguments(provider: Provider, function: &KernelFunction, environment: &Environment) -> Vec<String> {
    let Ok(kernel) = environment.kernel() else { return Vec::new() };
    let btf = match &function.module {
        None => Arc::clone(kernel.vmlinux()),
        Some(module) => match kernel.module(module) {
            Ok(btf) => btf,
            Err(_untold) => return Vec::new(),
        },
    };
    let Some(prototype) = btf.lookup(Named::Function, &function.name).and_then(|id| btf.prototype(id).ok()) else {
        return Vec::new();
    };
    let mut known = Vec::new();
    if provider != Provider::Kretprobe {
        known.extend(prototype.parameters.filter_map(|parameter| declared(&btf, parameter.id, parameter.name).ok()));
    }
    if matches!(provider, Provider::Kretprobe | Provider::Fexit) && prototype.returns != TypeId::VOID {
        known.extend(declared(&btf, prototype.returns, "retval"));
    }
    known
}

/// Type and name, with a blank between them as bpftrace writes it: `struct sock * sk`.
fn declared(btf: &Btf, id: TypeId, name: &str) -> Result<String, BtfError> {
    Ok(format!("{} {name}", btf.type_name(id)?))
}

fn types(
    word: &str,
    named: Named,
    name: &str,
    details: bool,
    environment: &Environment,
) -> Result<Vec<Listed>, ListError> {
    let kernel = environment.kernel().map_err(ListError::types)?;
    let pattern = Pattern::new(name);
    let mut found = Vec::new();
    for btf in kernel.all() {
        for (name, id) in btf.named(named).filter(|(name, _)| pattern.matches(name)) {
            let details = if details { btf.declaration(id).into_iter().collect() } else { Vec::new() };
            found.push(Listed { name: format!("{word}{name}"), details });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    // Modules repeat what they use of each other.
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> Vec<String> {
        search(pattern, false, &Environment::default()).unwrap().into_iter().map(|listed| listed.name).collect()
    }

    #[test]
    fn patterns_name_probes_and_types() {
        assert_eq!(
            names("tracepoint:sched:sched_process_e*"),
            ["tracepoint:sched:sched_process_exec", "tracepoint:sched:sched_process_exit"]
        );
        assert_eq!(names("rawtracepoint:sched_process_exec"), ["rawtracepoint:sched_process_exec"]);
        let anywhere = names("*sched_process_exec");
        assert!(anywhere.contains(&"tracepoint:sched:sched_process_exec".to_owned()), "{anywhere:?}");
        assert!(anywhere.contains(&"rawtracepoint:sched_process_exec".to_owned()), "{anywhere:?}");
        assert_eq!(names("interval:*"), ["interval:hz:", "interval:ms:", "interval:s:", "interval:us:"]);
        assert_eq!(names("software:*-faults").len(), 5);
        assert_eq!(names("hardware:cyc*"), ["hardware:cycles:"]);
        assert_eq!(names("struct tcp_sock"), ["struct tcp_sock"]);
        assert!(names("tracepoint:no_such:*").is_empty());
    }

    #[test]
    fn details_are_what_scripts_can_read() {
        let details = |pattern: &str| search(pattern, true, &Environment::default()).unwrap().remove(0).details;
        let fields = details("tracepoint:sched:sched_process_exit");
        assert!(fields.contains(&"pid_t pid".to_owned()) && fields.contains(&"int prio".to_owned()), "{fields:?}");
        assert_eq!(
            details("rawtracepoint:sched_process_exec"),
            ["struct task_struct * p", "pid_t old_pid", "struct linux_binprm * bprm"]
        );
        assert_eq!(details("struct path"), ["struct path {\n\tstruct vfsmount *mnt;\n\tstruct dentry *dentry;\n};"]);
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        let error = search("nothing:*", false, &Environment::default()).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }
}
