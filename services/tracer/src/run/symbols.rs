//! Names of addresses in the kernel's code, and stacks by their numbers.

use std::cell::OnceCell;

use super::stack;
use super::value::Value;
use crate::functions;
use crate::load::Loaded;
use crate::types::Space;

/// The kernel's symbols, read when the first is needed.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    read: OnceCell<Option<functions::Symbols>>,
}

impl Symbols {
    /// A value with names in place of addresses, where names are known.
    pub(super) fn resolve(&self, value: Value, loaded: &Loaded) -> Value {
        match value {
            Value::Symbol { space: Space::Kernel, address, .. } => match self.name(address) {
                Some((name, _)) => Value::Text(name.to_owned().into_bytes()),
                None => Value::Pointer(address),
            },
            Value::Stack { space, number, depth } => {
                Value::Text(stack::text(self, space, number, depth, loaded).into_bytes())
            }
            Value::Tuple(items) => Value::Tuple(items.into_iter().map(|item| self.resolve(item, loaded)).collect()),
            other => other,
        }
    }

    /// The symbol that an address lies in, and how far behind its start.
    pub(super) fn name(&self, address: u64) -> Option<(&str, u64)> {
        self.read.get_or_init(|| functions::Symbols::read().ok()).as_ref()?.name(address)
    }
}
