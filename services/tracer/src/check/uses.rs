//! What a probe reads of where it is, which decides how it may be attached.

use std::collections::BTreeSet;

use crate::ast::{self, Builtin, ExpressionKind as Ast, Variable};
use crate::words::Function;

/// Something that a probe may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// `args`: arguments by name.
    Named,
    /// `arg0` and its like.
    Numbered,
    /// `retval`.
    Returned,
    /// `ctx`.
    Context,
    /// Registers, or arguments that lie on the stack.
    Registers,
    /// A stack.
    Stack,
    /// `func`.
    Function,
    /// `probe`.
    Probe,
}

/// All that a probe reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses(BTreeSet<Use>);

impl Uses {
    pub(super) fn of(probe: &ast::Probe) -> Self {
        let mut uses = BTreeSet::new();
        let mut see = |expression: &ast::Expression| uses.extend(use_of(expression));
        probe.predicate.iter().for_each(|predicate| ast::visit::expression(predicate, &mut see));
        ast::visit::block(&probe.body, &mut see);
        Self(uses)
    }

    pub(super) fn any(&self, of: &[Use]) -> bool {
        of.iter().any(|one| self.0.contains(one))
    }

    /// Whether it reads what it is hit with.
    pub(super) fn context(&self) -> bool {
        self.any(&[Use::Named, Use::Numbered, Use::Returned, Use::Context])
    }
}

fn use_of(expression: &ast::Expression) -> Option<Use> {
    match &expression.kind {
        Ast::Builtin(Builtin::Arg(_)) => Some(Use::Numbered),
        Ast::Builtin(Builtin::Variable(Variable::Args)) => Some(Use::Named),
        Ast::Builtin(Builtin::Variable(Variable::Retval)) => Some(Use::Returned),
        Ast::Builtin(Builtin::Variable(Variable::Ctx)) => Some(Use::Context),
        Ast::Builtin(Builtin::Variable(Variable::Func)) => Some(Use::Function),
        Ast::Builtin(Builtin::Variable(Variable::Probe)) => Some(Use::Probe),
        Ast::Builtin(Builtin::StackArg(_)) | Ast::Call { function: Function::Reg, .. } => Some(Use::Registers),
        Ast::Builtin(Builtin::Variable(Variable::Kstack | Variable::Ustack))
        | Ast::Call { function: Function::Kstack | Function::Ustack, .. } => Some(Use::Stack),
        _ => None,
    }
}
