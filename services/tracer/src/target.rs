//! Where probes attach on this kernel, and by what.

use std::fmt;
use std::sync::Arc;

use synscope_btf::{Btf, TypeId};

use crate::counters::Counter;

/// Where a probe attaches on this kernel.
#[derive(Debug, Clone)]
pub enum Target {
    /// Before all others.
    Begin,
    /// After all others.
    End,
    /// A signal to the tracer.
    Signal,
    /// After so many events that are counted, on every CPU.
    Counter(Counter),
    /// A clock.
    Clock {
        /// How often.
        period: Period,
        /// Whether on every CPU, or on one.
        every_cpu: bool,
    },
    /// A raw tracepoint.
    RawTracepoint {
        /// Its name.
        event: String,
        /// Its type, where the probe reads its arguments.
        typed: Option<(Arc<Btf>, TypeId)>,
    },
    /// A tracepoint with a record of fields.
    Tracepoint {
        /// Its number in tracefs.
        id: u64,
    },
    /// Functions of the kernel.
    Functions {
        /// At least one.
        functions: Vec<KernelFunction>,
        /// Whether when they return; else when they are called.
        exit: bool,
        /// By what.
        way: Way,
        /// Why by this.
        why: &'static str,
    },
}

/// How often a clock hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// After so many nanoseconds.
    Every(u64),
    /// So many times a second.
    Rate(u64),
}

/// A function of the kernel by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelFunction {
    /// Its name.
    pub name: String,
    /// The module it is in; without, it is the kernel's own.
    pub module: Option<String>,
}

impl KernelFunction {
    /// The module it is in, or the file of the kernel itself, as scripts and the kernel's types call it.
    pub fn home(&self) -> &str {
        self.module.as_deref().unwrap_or("vmlinux")
    }
}

impl fmt::Display for KernelFunction {
    /// As the kernel takes it where it looks for a symbol.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(out, "{module}:{}", self.name),
            None => out.write_str(&self.name),
        }
    }
}

/// How a program gets to be called with a function.
#[derive(Debug, Clone)]
pub enum Way {
    /// The kernel writes a call into the function (fentry, fexit): the cheapest, for one function that its types tell.
    Typed(Arc<Btf>, TypeId),
    /// A probe at an instruction of each function, so many bytes behind its start.
    Kprobe {
        /// Bytes.
        offset: u64,
    },
    /// One attachment for all functions.
    Multi,
}

impl Target {
    /// At how many places the kernel calls the program.
    pub fn places(&self) -> usize {
        match self {
            Target::Functions { functions, .. } => functions.len(),
            _ => 1,
        }
    }

    /// Whether the verifier knows the types of the arguments that the program gets.
    pub fn is_typed(&self) -> bool {
        matches!(self, Target::RawTracepoint { typed: Some(_), .. } | Target::Functions { way: Way::Typed(..), .. })
    }

    /// Whether it is at functions of modules.
    pub(crate) fn is_in_module(&self) -> bool {
        matches!(self, Target::Functions { functions, .. } if functions.iter().any(|function| function.module.is_some()))
    }

    /// By what it is attached, in the kernel's words, and why by that.
    pub fn attached_as(&self) -> (&'static str, &'static str) {
        match self {
            Target::Begin | Target::End | Target::Signal => ("run by the tracer", "it happens here"),
            Target::Counter(_) => ("perf event", "a counter on every CPU"),
            Target::Clock { .. } => ("perf event", "the CPU's clock"),
            Target::RawTracepoint { typed: None, .. } => ("raw tracepoint", "the script reads no fields"),
            Target::RawTracepoint { typed: Some(_), .. } => ("typed raw tracepoint", "the script reads arguments"),
            Target::Tracepoint { .. } => ("tracepoint", "the script reads fields of its record"),
            Target::Functions { exit, way, why, .. } => {
                let by = match (way, exit) {
                    (Way::Typed(..), false) => "fentry",
                    (Way::Typed(..), true) => "fexit",
                    (Way::Kprobe { .. }, false) => "kprobe",
                    (Way::Kprobe { .. }, true) => "kretprobe",
                    (Way::Multi, false) => "multi-kprobe",
                    (Way::Multi, true) => "multi-kretprobe",
                };
                (by, why)
            }
        }
    }
}
