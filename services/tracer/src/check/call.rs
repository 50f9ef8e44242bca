//! Calls for their value.

use nix::time::ClockId;

use super::Checker;
use super::expression::{number, unknown};
use super::series::apart_from_boot;
use crate::ast::{self, ExpressionKind as Ast, Function};
use crate::diagnostic::Diagnostic;
use crate::helper;
use crate::settings::StackMode;
use crate::source::Span;
use crate::typed::{Entry, Expression, ExpressionKind, Held, Source};
use crate::types::{Access, Aggregate, Frames, Space, Type};

/// Frames that a stack has where the script does not say, and at most, as in bpftrace.
const STACK_DEPTH: i64 = 127;

impl Checker<'_> {
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &[ast::Expression],
        name_span: Span,
        span: Span,
    ) -> Expression {
        match (function, arguments) {
            (Function::Str, [pointer] | [pointer, _]) => self.str(pointer, arguments.get(1), span),
            (Function::Buf, [pointer] | [pointer, _]) => self.buf(pointer, arguments.get(1), span),
            (Function::Strncmp, [left, right, length]) => self.strncmp(left, right, length, span),
            (Function::Strcontains, [text, part]) => self.strcontains(text, part, span),
            (Function::Strerror, [error]) => {
                let error = self.integer(error);
                Expression { span, ty: Type::Error, kind: ExpressionKind::Retype(Box::new(error)) }
            }
            (Function::Strftime, [format, time]) => self.strftime(format, time, span),
            (Function::Pton, [address]) => self.pton(address, span),
            (Function::Kaddr, [name]) => self.kaddr(name, span),
            (Function::Cgroupid, [path]) => self.cgroupid(path, span),
            (Function::Macaddr, [bytes]) => self.macaddr(bytes, span),
            (Function::Len, [of]) => self.length(of, span),
            (Function::HasKey, [map, key]) => self.has_key(map, key, span),
            (Function::Nsecs, [] | [_]) => self.clock(arguments.first(), span),
            (Function::Kstack, _) => self.stack(Space::Kernel, arguments, span),
            (Function::Ustack, _) => self.stack(Space::User, arguments, span),
            (Function::Ksym, [address]) => {
                let address = self.integer(address);
                let kind = ExpressionKind::Retype(Box::new(address));
                Expression { span, ty: Type::Symbol(Space::Kernel), kind }
            }
            (Function::Reg, [name]) => self.register(name, span),
            (Function::Ntop, [address]) => self.ntop(None, address, span),
            (Function::Ntop, [family, address]) => self.ntop(Some(family), address, span),
            (Function::Bswap, [value]) => {
                let value = self.integer(value);
                match value.ty.clone() {
                    Type::Int { size, .. } if size > 1 => {
                        let ty = Type::Int { size, signed: false };
                        Expression { span, ty, kind: ExpressionKind::Swap(Box::new(value)) }
                    }
                    _ => value,
                }
            }
            (Function::Kptr | Function::Uptr, [pointer]) => {
                let access = if function == Function::Kptr { Access::Kernel } else { Access::User };
                let pointer = self.integer(pointer);
                let to = match &pointer.ty {
                    Type::Pointer { to, .. } => to.clone(),
                    _ => Box::new(Type::None),
                };
                Expression { span, ty: Type::Pointer { to, access }, kind: ExpressionKind::Retype(Box::new(pointer)) }
            }
            _ => {
                self.cannot_be_called(function, arguments.len(), name_span, span);
                unknown(span)
            }
        }
    }

    /// Why a function has no value here.
    fn cannot_be_called(&mut self, function: Function, given: usize, name_span: Span, span: Span) {
        let name = function.name();
        match function {
            Function::Count
            | Function::Sum
            | Function::Avg
            | Function::Min
            | Function::Max
            | Function::Stats
            | Function::Hist
            | Function::Lhist
            | Function::Tseries => {
                self.error("gather-place", format!("`{name}` gathers into a map: write `@x = {name}(…)`"), span);
            }
            Function::Printf
            | Function::Errorf
            | Function::Print
            | Function::Clear
            | Function::Zero
            | Function::Exit
            | Function::Time
            | Function::Join
            | Function::Delete => self.error("no-value", format!("`{name}` has no value"), span),
            Function::CgroupPath
            | Function::Debugf
            | Function::Path
            | Function::PercpuKaddr
            | Function::Uaddr
            | Function::Unwatch
            | Function::Usym => self.error("not-yet", format!("`{name}` is not supported yet"), name_span),
            _ => self.error("arguments", format!("`{name}` does not take {given} arguments"), span),
        }
    }

    fn has_key(&mut self, map: &ast::Expression, key: &ast::Expression, span: Span) -> Expression {
        let Ast::Map(access) = &map.kind else {
            self.error("arguments", "`has_key` takes a map and a key", map.span);
            return unknown(span);
        };
        let map = self.map(&access.name);
        let key = self.expression(key);
        let entry = self.entry_of(map, Some(key), span);
        self.refuse_parted(&entry, "`has_key` cannot find one", span);
        Expression { span, ty: Type::INT64, kind: ExpressionKind::HasKey(entry) }
    }

    /// `nsecs(tai)`. `sw_tai` is as far from the boot clock as the two are apart now, for kernels whose programs cannot
    /// read atomic time.
    fn clock(&mut self, name: Option<&ast::Expression>, span: Span) -> Expression {
        if let Some(Ast::Identifier(name)) = name.map(|name| &name.kind)
            && name == "sw_tai"
        {
            return apart_from_boot(ClockId::CLOCK_TAI, span);
        }
        let helper = match name.map(|name| &name.kind) {
            None => helper::KTIME_GET_BOOT_NS,
            Some(Ast::Identifier(name)) => match name.as_str() {
                "boot" => helper::KTIME_GET_BOOT_NS,
                "monotonic" => helper::KTIME_GET_NS,
                "tai" => helper::KTIME_GET_TAI_NS,
                _ => {
                    self.error(
                        "clock",
                        format!("there is no clock `{name}`; there are boot, monotonic, tai and sw_tai"),
                        span,
                    );
                    return unknown(span);
                }
            },
            Some(_) => {
                self.error("clock", "the clocks are boot, monotonic, tai and sw_tai", span);
                return unknown(span);
            }
        };
        Expression { span, ty: Type::UINT64, kind: ExpressionKind::Source(Source::Clock(helper)) }
    }

    /// `kstack(perf, 3)`: a mode, a number of frames, or both.
    fn stack(&mut self, space: Space, arguments: &[ast::Expression], span: Span) -> Expression {
        let mut depth = STACK_DEPTH;
        let mut mode = self.settings.stack_mode;
        for argument in arguments {
            match &argument.kind {
                Ast::Identifier(name) if let Some(named) = StackMode::named(name) => mode = named,
                _ => {
                    if let ExpressionKind::Int(frames @ 1..=STACK_DEPTH) = self.integer(argument).kind {
                        depth = frames;
                    } else {
                        let message = format!("a stack has between 1 and {STACK_DEPTH} frames");
                        self.error("arguments", message, argument.span);
                    }
                }
            }
        }
        let ty = Type::Stack(space, Frames { depth: u32::try_from(depth).unwrap_or(1), mode });
        Expression { span, ty, kind: ExpressionKind::Source(Source::Stack(space)) }
    }

    fn ntop(&mut self, family: Option<&ast::Expression>, address: &ast::Expression, span: Span) -> Expression {
        let address = self.expression(address);
        let size = match &address.ty {
            Type::Unknown => return unknown(span),
            ty if ty.is_integral() => 4,
            Type::Array(..) => address.ty.size(),
            _ => 0,
        };
        let told = match size {
            4 => Some(number(2, Type::INT64, span)),
            16 => Some(number(10, Type::INT64, span)),
            _ => None,
        };
        let Some(told) = told else {
            let message = format!("`ntop` takes 4 or 16 bytes, and this is `{}`", address.ty);
            self.error("arguments", message, address.span);
            return unknown(span);
        };
        let family = family.map_or(told, |family| self.integer(family));
        let kind = ExpressionKind::Address { family: Box::new(family), bytes: Box::new(address) };
        Expression { span, ty: Type::Address, kind }
    }

    /// `strftime("%H:%M:%S", nsecs)`: a point in time of the boot clock, written out when it is printed.
    fn strftime(&mut self, format: &ast::Expression, time: &ast::Expression, span: Span) -> Expression {
        let Some(format) = self.literal_text(format) else { return unknown(span) };
        let time = self.integer(time);
        if let ExpressionKind::Source(Source::Clock(clock)) = time.kind
            && clock != helper::KTIME_GET_BOOT_NS
        {
            self.error("clock", "`strftime` takes nanoseconds of the boot clock, as `nsecs` gives them", time.span);
            return unknown(span);
        }
        let ty = Type::Time(String::from_utf8_lossy(&format).into_owned());
        Expression { span, ty, kind: ExpressionKind::Retype(Box::new(time)) }
    }

    /// `macaddr(pointer)`, or an array of six bytes.
    fn macaddr(&mut self, bytes: &ast::Expression, span: Span) -> Expression {
        let bytes = self.expression(bytes);
        let (pointer, offset, access) = match bytes {
            Expression { ty: Type::Unknown, .. } => return unknown(span),
            Expression {
                ty: Type::Array(_, 6), kind: ExpressionKind::Memory { pointer, offset, access, .. }, ..
            } => (pointer, offset, access),
            // Six characters are text where they are read.
            Expression { ty: Type::Text(6), kind: ExpressionKind::TextAt { pointer, space, .. }, .. } => {
                (pointer, 0, if space == Space::User { Access::User } else { Access::Kernel })
            }
            pointer if pointer.ty.is_integral() => {
                let access = if matches!(pointer.ty, Type::Pointer { access: Access::User, .. }) {
                    Access::User
                } else {
                    Access::Kernel
                };
                (Box::new(pointer), 0, access)
            }
            other => {
                let message = format!("`macaddr` takes a pointer or six bytes, and this is `{}`", other.ty);
                self.error("arguments", message, other.span);
                return unknown(span);
            }
        };
        Expression { span, ty: Type::Mac, kind: ExpressionKind::Memory { pointer, offset, access, bits: None } }
    }

    /// `len(@x)`, `len(kstack)`: how many entries, or frames.
    fn length(&mut self, of: &ast::Expression, span: Span) -> Expression {
        if let Ast::Map(access) = &of.kind
            && access.key.is_none()
        {
            return self.map_length(access, span);
        }
        let of = self.expression(of);
        match (&of.ty, &of.kind) {
            (Type::Unknown, _) => unknown(span),
            (Type::Stack(_, frames), ExpressionKind::Source(Source::Stack(space))) => {
                let kind = ExpressionKind::Source(Source::Frames(*space, frames.depth));
                Expression { span, ty: Type::INT64, kind }
            }
            (Type::Stack(..), _) => {
                let error =
                    Diagnostic::error("arguments", "a stack that was kept is known by its number only", of.span);
                self.report(error.because("count its frames where it is taken: `len(kstack)`"));
                unknown(span)
            }
            (other, _) => {
                let message = format!("`len` takes a map or a stack, and this is `{other}`");
                self.error("arguments", message, of.span);
                unknown(span)
            }
        }
    }

    /// Refuses to look for a key whose value is in several entries of the kernel's map.
    pub(super) fn refuse_parted(&mut self, entry: &Entry, so: &str, span: Span) {
        let Some(parts) = self.held(entry.map).and_then(parts) else { return };
        if self.last && entry.key.is_some() {
            let name = self.map_name(entry.map);
            let message = format!("each key of `{name}` has an entry for each {parts}, so {so}");
            let clear = format!("`clear({name})` takes all of them out");
            self.report(Diagnostic::error("map-type", message, span).because(clear));
        }
    }

    fn map_length(&mut self, access: &ast::MapAccess, span: Span) -> Expression {
        let map = self.map(&access.name);
        if self.last {
            let message = match (self.held(map), self.key_type(map)) {
                (None, _) => {
                    self.undefined_map(map, access.span);
                    None
                }
                (Some(_), None) => Some("has no keys".to_owned()),
                (Some(held), _) => parts(held).map(|parts| format!("has an entry for each {parts}")),
            };
            if let Some(message) = message {
                let message = format!("`{}` {message}, so it has no length", self.map_name(map));
                self.error("map-type", message, access.span);
            }
        }
        Expression { span, ty: Type::INT64, kind: ExpressionKind::Length(map) }
    }
}

/// What each key of a map has an entry of the kernel's for, where it has several.
fn parts(held: &Held) -> Option<&'static str> {
    match held {
        Held::Gathered(Aggregate::Series(_)) => Some("interval"),
        Held::Gathered(aggregate) => aggregate.is_parted().then_some("range"),
        Held::Values(_) => None,
    }
}
