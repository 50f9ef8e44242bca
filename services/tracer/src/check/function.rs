//! Probes at functions of the kernel: which functions, by what they are attached, and what is known there.
//!
//! `kprobe` and `fentry` differ in what scripts may say at them. What carries them is decided apart from that: a call
//! that the kernel writes into the function costs least, so a `kprobe` becomes one wherever it means the same.

use std::io;

use synscope_btf::{Found, Named, Type as Kind};

use super::Checker;
use super::memory::type_of;
use super::probe::{Argument, Arguments, At, Context, Returned, argument};
use super::uses::{Use, Uses};
use crate::ast::Provider;
use crate::attach::is_pattern;
use crate::diagnostic::Diagnostic;
use crate::load::takes_typed;
use crate::lockdown;
use crate::registers;
use crate::source::Span;
use crate::target::{KernelFunction, Target, Way};
use crate::types::{Access, Type};

/// Of so many functions each gets a call of its own at most; writing one into a function takes longer than adding the
/// function to those of one attachment.
const TYPED_MOST: usize = 32;
/// Arguments of a function that a program is called with at most (`arch_prepare_bpf_trampoline` before 6.6).
const TYPED_ARGUMENTS: usize = 6;

/// What a script asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'w> {
    pub(super) provider: Provider,
    pub(super) module: Option<&'w str>,
    /// A name or a pattern.
    pub(super) name: &'w str,
    pub(super) offset: u64,
}

impl Wanted<'_> {
    fn exit(&self) -> bool {
        matches!(self.provider, Provider::Kretprobe | Provider::Fexit)
    }

    /// Whether the script speaks of it in the function's own types.
    fn typed(&self) -> bool {
        matches!(self.provider, Provider::Fentry | Provider::Fexit)
    }

    fn is_pattern(&self) -> bool {
        is_pattern(self.name) || self.module.is_some_and(is_pattern)
    }

    /// The attach point of one function, as bpftrace calls it.
    fn name_of(&self, function: &KernelFunction) -> String {
        let provider = self.provider.name();
        match (&function.module, self.typed()) {
            (Some(module), _) => format!("{provider}:{module}:{}", function.name),
            (None, true) => format!("{provider}:vmlinux:{}", function.name),
            (None, false) if self.offset > 0 => format!("{provider}:{}+{}", function.name, self.offset),
            (None, false) => format!("{provider}:{}", function.name),
        }
    }
}

impl Checker<'_> {
    pub(super) fn functions(&mut self, wanted: &Wanted<'_>, uses: &Uses, span: Span) -> Vec<(Target, Context)> {
        let Some(functions) = self.found(wanted, span) else { return Vec::new() };
        let most = self.settings.max_probes;
        if functions.len() > most as usize {
            let message =
                format!("`{}` is like {} functions, and a script may be at {most}", wanted.name, functions.len());
            self.report(Diagnostic::error("too-many-probes", message, span).because(self.limit_of("max_probes")));
            return Vec::new();
        }
        let few = functions.len() <= TYPED_MOST;
        // Arguments and names differ from function to function.
        let own = uses.any(&[Use::Named, Use::Probe]) || wanted.typed();
        let mut targets = Vec::new();
        let mut rest = Vec::new();
        for function in functions {
            match self.typed(&function, wanted, uses, few) {
                Ok(found) => targets.extend(self.by_type(function, &found, wanted, uses, span)),
                Err(reason) if wanted.provider == Provider::Fexit && uses.any(&[Use::Named, Use::Numbered]) => {
                    let name = wanted.name_of(&function);
                    let error = Diagnostic::error("no-fexit", format!("`{name}` cannot be attached as fexit"), span);
                    self.report(error.because(reason).because("without it, arguments are not known at exit"));
                }
                Err(reason) => rest.push((function, reason)),
            }
        }
        let Some((_, why)) = rest.first() else { return targets };
        if let Some(error) = self.without_kprobes(wanted, why, span) {
            self.report(error);
            return Vec::new();
        }
        if rest.len() == 1 || own || (uses.any(&[Use::Function]) && !self.environment.has_helper("get_func_ip")) {
            let each = |(function, why)| self.by_kprobe(function, wanted, uses, why, span);
            targets.extend(rest.into_iter().filter_map(each));
        } else {
            let functions = rest.into_iter().map(|(function, _)| function).collect();
            targets.push(self.together(functions, wanted, uses));
        }
        targets
    }

    /// The functions that are meant; if there are none, it was said.
    fn found(&mut self, wanted: &Wanted<'_>, span: Span) -> Option<Vec<KernelFunction>> {
        if !wanted.is_pattern() {
            let found = self.exact(wanted);
            if found.is_none() {
                self.absent(self.missing(wanted, span));
            }
            return found.map(|function| vec![function]);
        }
        let (found, left_out) = match self.environment.traceable() {
            Ok(traceable) => traceable.like(wanted.module, wanted.name),
            Err(error) => {
                let listing = Diagnostic::error("tracefs", format!("functions cannot be listed: {error}"), span);
                let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
                self.report(match forbidden.then(|| lockdown::why("the list of functions in tracefs")).flatten() {
                    Some(why) => listing.because(why).because("functions can be named one by one"),
                    None => listing,
                });
                return None;
            }
        };
        if left_out > 0 {
            let message = format!("{left_out} functions share their names with others and are left out");
            self.report(Diagnostic::note("ambiguous-functions", message, span));
        }
        if found.is_empty() {
            let message = format!("no function that can be traced is like `{}`", wanted.name);
            self.absent(Diagnostic::error("no-probe", message, span));
            return None;
        }
        Some(found)
    }

    /// A function by its name: where types know it, no list of all functions is read.
    fn exact(&self, wanted: &Wanted<'_>) -> Option<KernelFunction> {
        let named = |module: Option<&str>| KernelFunction {
            name: wanted.name.to_owned(),
            module: module.filter(|module| *module != "vmlinux").map(str::to_owned),
        };
        if let Some(found) = self.type_of_function(wanted.module, wanted.name) {
            return Some(named(found.btf.module_name()));
        }
        let symbols = self.environment.symbols().ok()?;
        let (_, function) = symbols.called(wanted.module, wanted.name).next()?;
        Some(named(function.module.as_deref()))
    }

    fn type_of_function(&self, module: Option<&str>, name: &str) -> Option<Found> {
        let kernel = self.environment.kernel().ok()?;
        match module {
            None => kernel.all().find_map(|btf| {
                let id = btf.lookup(Named::Function, name)?;
                Some(Found { btf: btf.clone(), id })
            }),
            Some("vmlinux") => {
                let btf = kernel.vmlinux();
                Some(Found { btf: btf.clone(), id: btf.lookup(Named::Function, name)? })
            }
            Some(module) => {
                let btf = kernel.module(module).ok()?;
                // A module's types are those of the kernel and some more.
                let id = btf.lookup(Named::Function, name)?;
                (kernel.vmlinux().lookup(Named::Function, name) != Some(id)).then_some(Found { btf, id })
            }
        }
    }

    /// The function's type, if a call can be written into it and means the same; else why not.
    fn typed(
        &self,
        function: &KernelFunction,
        wanted: &Wanted<'_>,
        uses: &Uses,
        few: bool,
    ) -> Result<Found, &'static str> {
        if uses.any(&[Use::Registers, Use::Context]) {
            return Err("the script reads registers");
        }
        if uses.any(&[Use::Stack]) && !wanted.typed() {
            return Err("a stack begins elsewhere in fentry");
        }
        if wanted.offset > 0 {
            return Err("it is within the function");
        }
        if !few && !wanted.typed() {
            return Err("these are many functions");
        }
        let found = self.type_of_function(Some(function.home()), &function.name).ok_or_else(|| {
            match self.environment.kernel() {
                Ok(_) => "the kernel's types do not tell of it",
                Err(_) => "the kernel's types cannot be read",
            }
        })?;
        if !is_plain(&found) {
            return Err("a program cannot be called with its arguments");
        }
        if wanted.provider == Provider::Kretprobe
            && uses.any(&[Use::Returned])
            && signature(&found, Access::Kernel).1.is_none()
        {
            return Err("the function returns nothing");
        }
        match takes_typed(&found, wanted.exit()) {
            Ok(()) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err("the kernel permits no fentry"),
            Err(_) => Err("the kernel takes no fentry at it"),
        }
    }

    /// A call within the function.
    fn by_type(
        &mut self,
        function: KernelFunction,
        found: &Found,
        wanted: &Wanted<'_>,
        uses: &Uses,
        span: Span,
    ) -> Option<(Target, Context)> {
        let mut context = Context::new(wanted.name_of(&function), Arguments::Gone);
        let (arguments, answer) = signature(found, Access::Direct);
        if wanted.exit() {
            let offset = i16::try_from(arguments.len() * 8).unwrap_or(i16::MAX);
            context.returned = returned(answer, wanted, offset);
        }
        if wanted.provider != Provider::Kretprobe {
            context.arguments = Arguments::Values(arguments);
        }
        context.function = self.place(&function, uses, span)?;
        let why = if wanted.typed() { "as the script says" } else { "it means the same, and costs less" };
        let way = Way::Typed(found.btf.clone(), found.id);
        let target = Target::Functions { functions: vec![function], exit: wanted.exit(), way, why };
        Some((target, context))
    }

    /// A probe at an instruction of one function.
    fn by_kprobe(
        &mut self,
        function: KernelFunction,
        wanted: &Wanted<'_>,
        uses: &Uses,
        why: &'static str,
        span: Span,
    ) -> Option<(Target, Context)> {
        let mut context = in_registers(wanted.name_of(&function), wanted);
        if let Some(found) = self.type_of_function(Some(function.home()), &function.name) {
            let (mut arguments, answer) = signature(&found, Access::Kernel);
            if wanted.exit() {
                context.returned = registers::returned().map_or(Returned::NotYet, |at| returned(answer, wanted, at));
            } else if wanted.offset == 0 {
                // By the calling convention, the first are handed over in registers.
                arguments.truncate(registers::ARGUMENTS.len());
                for (index, argument) in arguments.iter_mut().enumerate() {
                    argument.offset = registers::argument(index)?;
                }
                let more = (arguments.len()..registers::ARGUMENTS.len()).filter_map(unnamed);
                context.arguments = Arguments::Values(arguments.into_iter().chain(more).collect());
            }
        }
        context.function = self.place(&function, uses, span)?;
        let way = Way::Kprobe { offset: wanted.offset };
        Some((Target::Functions { functions: vec![function], exit: wanted.exit(), way, why }, context))
    }

    /// One program for many functions.
    fn together(&self, functions: Vec<KernelFunction>, wanted: &Wanted<'_>, uses: &Uses) -> (Target, Context) {
        let mut context = in_registers(format!("{}:{}", wanted.provider.name(), wanted.name), wanted);
        context.function = At::Several;
        // Kernels before 5.18, and those built without fprobes, attach to each function by itself.
        let multi = self
            .environment
            .kernel()
            .is_ok_and(|kernel| kernel.vmlinux().lookup(Named::Struct, "bpf_kprobe_multi_link").is_some());
        let (way, why) = if multi && wanted.offset == 0 && !uses.any(&[Use::Registers, Use::Context]) {
            (Way::Multi, "one attachment serves all functions")
        } else if multi {
            (Way::Kprobe { offset: wanted.offset }, "the script reads registers")
        } else {
            (Way::Kprobe { offset: wanted.offset }, "this kernel attaches to each function by itself")
        };
        (Target::Functions { functions, exit: wanted.exit(), way, why }, context)
    }

    /// Where a function lies, if the probe asks.
    fn place(&mut self, function: &KernelFunction, uses: &Uses, span: Span) -> Option<At> {
        if !uses.any(&[Use::Function]) {
            return Some(At::One(0));
        }
        let symbols = self.environment.symbols();
        let found = symbols.ok().and_then(|symbols| symbols.called(Some(function.home()), &function.name).next());
        if let Some((address @ 1.., _)) = found {
            return Some(At::One(*address));
        }
        self.error("no-address", format!("the kernel does not tell where `{}` lies", function.name), span);
        None
    }
}

/// What is known of a function by its registers alone.
fn in_registers(name: String, wanted: &Wanted<'_>) -> Context {
    let mut context = Context { registers: true, ..Context::new(name, Arguments::Gone) };
    if wanted.exit() {
        if let Some(offset) = registers::returned() {
            let value = Argument { name: String::new(), ty: Type::UINT64, offset };
            context.returned = Returned::Value(value);
        }
    } else {
        context.arguments = Arguments::Values((0..registers::ARGUMENTS.len()).filter_map(unnamed).collect());
    }
    context
}

/// An argument of which only the register is known.
fn unnamed(index: usize) -> Option<Argument> {
    Some(Argument { name: String::new(), ty: Type::UINT64, offset: registers::argument(index)? })
}

/// What a function takes, one number behind the other, and what it returns.
fn signature(found: &Found, access: Access) -> (Vec<Argument>, Option<Type>) {
    let Ok(prototype) = found.btf.prototype(found.id) else { return (Vec::new(), None) };
    let answer = match found.btf.resolve(prototype.returns) {
        Ok((_, Kind::Void)) | Err(_) => None,
        Ok(_) => Some(type_of(&found.btf, prototype.returns, access)),
    };
    let arguments = prototype.parameters.enumerate();
    let arguments =
        arguments.map(|(index, parameter)| argument(index, &parameter, type_of(&found.btf, parameter.id, access)));
    (arguments.collect(), answer)
}

/// What `retval` is: for a `kretprobe`, the whole register.
fn returned(answer: Option<Type>, wanted: &Wanted<'_>, offset: i16) -> Returned {
    let value = |ty| Returned::Value(Argument { name: String::new(), ty, offset });
    match answer {
        _ if !wanted.typed() => value(Type::UINT64),
        Some(ty) => value(ty),
        None => Returned::Nothing,
    }
}

/// Whether a program can be called with all that the function is.
fn is_plain(found: &Found) -> bool {
    let Ok(prototype) = found.btf.prototype(found.id) else { return false };
    let is_number = |id| matches!(found.btf.resolve(id), Ok((_, Kind::Int(_) | Kind::Enum(_) | Kind::Pointer(_))));
    let nothing = matches!(found.btf.resolve(prototype.returns), Ok((_, Kind::Void)));
    !prototype.variadic
        && prototype.parameters.len() <= TYPED_ARGUMENTS
        && (nothing || is_number(prototype.returns))
        && prototype.parameters.map(|parameter| parameter.id).all(is_number)
}
