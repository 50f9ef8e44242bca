//! Builtin variables.

use super::Checker;
use super::expression::unknown;
use super::probe::{Arguments, At, Returned};
use crate::ast::{self, Builtin, Variable};
use crate::diagnostic::Diagnostic;
use crate::helper;
use crate::registers;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind, Source};
use crate::types::{Access, Frames, Space, Type};

/// Bytes of a thread's name (`TASK_COMM_LEN` in `include/linux/sched.h`).
const COMM: u32 = 16;
/// Frames that a stack has where the script does not say, as in bpftrace.
const STACK_DEPTH: u32 = crate::plan::STACK_DEPTH;

impl Checker<'_> {
    pub(super) fn builtin(&mut self, builtin: Builtin, span: Span) -> Expression {
        let variable = match builtin {
            Builtin::Variable(variable) => variable,
            Builtin::Arg(index) => return self.argument(index.into(), span),
            Builtin::StackArg(index) => return self.stack_argument(index, span),
        };
        let (ty, source) = match variable {
            Variable::Pid => (Type::UINT32, Source::Pid),
            Variable::Tid => (Type::UINT32, Source::Tid),
            Variable::Uid => (Type::UINT32, Source::Uid),
            Variable::Gid => (Type::UINT32, Source::Gid),
            Variable::Nsecs => (Type::UINT64, Source::Clock(helper::KTIME_GET_BOOT_NS)),
            Variable::Elapsed => (Type::UINT64, Source::Elapsed),
            Variable::Cpu => (Type::UINT32, Source::Cpu),
            Variable::Numaid => (Type::UINT32, Source::NumaNode),
            Variable::Rand => (Type::UINT32, Source::Random),
            Variable::Cgroup => (Type::UINT64, Source::Cgroup),
            Variable::Jiffies => (Type::UINT64, Source::Jiffies),
            Variable::Comm => (Type::Text(COMM), Source::Comm(self.place_of_comm())),
            Variable::Curtask => self.task(),
            Variable::Ctx => (Type::pointer(Type::None), Source::Context),
            Variable::Kstack => (self.whole_stack(Space::Kernel), Source::Stack(Space::Kernel)),
            Variable::Ustack => (self.whole_stack(Space::User), Source::Stack(Space::User)),
            Variable::Probe => {
                let name = self.probe.name.clone();
                return self.text(name.into_bytes(), span);
            }
            Variable::Ncpus => {
                let count = std::thread::available_parallelism().map_or(1, usize::from);
                return super::expression::number(i64::try_from(count).unwrap_or(1), Type::UINT64, span);
            }
            Variable::Args => {
                self.error("args", "`args` has fields, such as `args.pid`; it is no value itself", span);
                return unknown(span);
            }
            Variable::Func => return self.function(span),
            Variable::Retval => return self.returned(span),
            Variable::Cpid => {
                let Some(child) = self.environment.child else {
                    let error = Diagnostic::error("no-command", "`cpid` is the process of a command to trace", span);
                    self.report(error.because("there is none: `-c` starts one"));
                    return unknown(span);
                };
                return super::expression::number(child.into(), Type::UINT64, span);
            }
            Variable::Username => {
                self.error("not-yet", format!("`{}` is not supported yet", variable.name()), span);
                return unknown(span);
            }
        };
        Expression { span, ty, kind: ExpressionKind::Source(source) }
    }

    fn whole_stack(&self, space: Space) -> Type {
        Type::Stack(space, Frames { depth: STACK_DEPTH, mode: self.settings.stack_mode })
    }

    /// The process that runs, as the kernel has it.
    fn task(&self) -> (Type, Source) {
        let (access, helper) = if self.environment.knows_task() {
            (Access::Direct, helper::GET_CURRENT_TASK_BTF)
        } else {
            (Access::Kernel, helper::GET_CURRENT_TASK)
        };
        let ty = self.environment.task().map_or(Type::UINT64, |found| {
            let to = Box::new(super::memory::type_of(&found.btf, found.id, access));
            Type::Pointer { to, access }
        });
        (ty, Source::Task(helper))
    }

    /// Where the name lies in a task that loads can read, if it is words there.
    fn place_of_comm(&self) -> Option<i16> {
        let task = self.environment.task().filter(|_| self.environment.knows_task())?;
        let field = task.btf.field(task.id, "comm").ok()?;
        let (_, ty) = task.btf.resolve(field.id).ok()?;
        let words = field.bit_offset.is_multiple_of(64)
            && matches!(ty, synscope_btf::Type::Array(array) if array.length == COMM);
        i16::try_from(field.bit_offset / 8).ok().filter(|_| words)
    }

    /// `arg0`: an argument as a plain number.
    fn argument(&mut self, index: usize, span: Span) -> Expression {
        let message = match &self.probe.arguments {
            Arguments::Values(arguments) => match arguments.get(index) {
                Some(argument) => return argument.read(Type::UINT64, span),
                None => format!("`{}` has {} arguments", self.probe.name, arguments.len()),
            },
            Arguments::Gone => return self.gone(span),
            Arguments::None | Arguments::Fields(_) => {
                format!("`{}` has no arguments by number", self.probe.name)
            }
        };
        self.error("no-arguments", message, span);
        unknown(span)
    }

    /// An argument where a function returns.
    pub(super) fn gone(&mut self, span: Span) -> Expression {
        let message = format!("`{}` no longer knows what the function was called with", self.probe.name);
        let error = Diagnostic::error("arguments-at-exit", message, span);
        let error = error.here("its register holds something else by now");
        self.report(error.because(
            "keep it when the function is called: `@kept[tid] = arg0` in a `kprobe`; or use `fexit`, which knows both",
        ));
        unknown(span)
    }

    /// `sarg0`: an argument that is handed over on the stack.
    fn stack_argument(&mut self, index: u8, span: Span) -> Expression {
        let place = registers::on_stack(index).filter(|_| self.probe.registers);
        let (Some((offset, distance)), At::One(_) | At::Several) = (place, self.probe.function) else {
            self.error("no-registers", "arguments on the stack are found where a `kprobe` is", span);
            return unknown(span);
        };
        let kind = ExpressionKind::Source(Source::ContextPart(offset, 8));
        let stack = Expression { span, ty: Type::pointer(Type::UINT64), kind };
        super::memory::read(Type::UINT64, Box::new(stack), distance, Access::Kernel, None, span)
    }

    /// `reg("di")`.
    pub(super) fn register(&mut self, name: &ast::Expression, span: Span) -> Expression {
        let ast::ExpressionKind::Text(text) = &name.kind else {
            self.error("arguments", "`reg` takes the name of a register as text", name.span);
            return unknown(span);
        };
        if !self.probe.registers {
            let message = format!("`{}` is not hit with registers", self.probe.name);
            self.report(Diagnostic::error("no-registers", message, span).because("a `kprobe` or `kretprobe` is"));
            return unknown(span);
        }
        let text = String::from_utf8_lossy(text);
        let Some(offset) = registers::offset(&text) else {
            let error = Diagnostic::error("no-registers", format!("there is no register `{text}`"), name.span);
            self.report(error.because(format!("there are {}", registers::NAMES.join(", "))));
            return unknown(span);
        };
        Expression { span, ty: Type::UINT64, kind: ExpressionKind::Source(Source::ContextPart(offset, 8)) }
    }

    /// `retval`.
    fn returned(&mut self, span: Span) -> Expression {
        let message = match &self.probe.returned {
            Returned::Value(value) => return value.read(value.ty.clone(), span),
            Returned::Nothing => format!("the function of `{}` returns nothing", self.probe.name),
            Returned::NotYet => format!("`{}` is not where a function returns", self.probe.name),
        };
        let error = Diagnostic::error("no-retval", message, span);
        self.report(error.because("a `kretprobe` or `fexit` has `retval`, if the function returns something"));
        unknown(span)
    }

    /// `func`.
    fn function(&mut self, span: Span) -> Expression {
        let kind = match self.probe.function {
            At::One(address) => ExpressionKind::Int(address.cast_signed()),
            At::Several => ExpressionKind::Source(Source::FunctionAddress),
            At::Nowhere => {
                let message = format!("`func` is of functions, and `{}` is at none", self.probe.name);
                self.error("no-function", message, span);
                return unknown(span);
            }
        };
        Expression { span, ty: Type::Symbol(Space::Kernel), kind }
    }
}
