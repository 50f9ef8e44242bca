//! Builtin variables.

use super::Checker;
use super::expression::unknown;
use super::probe::Arguments;
use crate::ast::{Builtin, Variable};
use crate::helper;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind, Source};
use crate::types::{Access, Space, Type};

/// Frames that a stack has where the script does not say, as in bpftrace.
const STACK_DEPTH: u32 = crate::plan::STACK_DEPTH;

impl Checker<'_> {
    pub(super) fn builtin(&mut self, builtin: Builtin, span: Span) -> Expression {
        let variable = match builtin {
            Builtin::Variable(variable) => variable,
            Builtin::Arg(index) => return self.argument(index.into(), span),
            Builtin::StackArg(_) => {
                self.error("not-yet", "arguments on the stack are not supported yet", span);
                return unknown(span);
            }
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
            Variable::Comm => (Type::Text(16), Source::Comm),
            Variable::Curtask => (self.task(), Source::Task),
            Variable::Ctx => (Type::pointer(Type::None), Source::Context),
            Variable::Kstack => (Type::Stack(Space::Kernel, STACK_DEPTH), Source::Stack(Space::Kernel)),
            Variable::Ustack => (Type::Stack(Space::User, STACK_DEPTH), Source::Stack(Space::User)),
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
            Variable::Func | Variable::Retval => {
                let message = format!("`{}` is of functions, and this probe is at none", variable.name());
                self.error("no-function", message, span);
                return unknown(span);
            }
            Variable::Cpid | Variable::Username => {
                self.error("not-yet", format!("`{}` is not supported yet", variable.name()), span);
                return unknown(span);
            }
        };
        Expression { span, ty, kind: ExpressionKind::Source(source) }
    }

    /// The process that runs, as the kernel has it.
    fn task(&mut self) -> Type {
        let Ok(kernel) = self.environment.kernel() else { return Type::UINT64 };
        match kernel.find(synscope_btf::Named::Struct, "task_struct") {
            Ok(found) => Type::pointer(super::memory::type_of(&found.btf, found.id, Access::Kernel)),
            Err(_) => Type::UINT64,
        }
    }

    /// `arg0`: a raw tracepoint's arguments as plain numbers.
    fn argument(&mut self, index: usize, span: Span) -> Expression {
        let Arguments::Raw(arguments) = &self.probe.arguments else {
            let message = format!("`{}` has no arguments by number", self.probe.name);
            self.error("no-arguments", message, span);
            return unknown(span);
        };
        if index >= arguments.len() {
            let message = format!("`{}` has {} arguments", self.probe.name, arguments.len());
            self.error("no-arguments", message, span);
            return unknown(span);
        }
        let offset = i16::try_from(index * 8).unwrap_or(i16::MAX);
        let kind = ExpressionKind::Source(Source::ContextPart(offset, 8));
        Expression { span, ty: Type::UINT64, kind }
    }
}
