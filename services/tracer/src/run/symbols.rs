//! Names of addresses in the kernel's code.

use std::cell::OnceCell;

use crate::functions;

/// The kernel's symbols, read when the first is needed.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    read: OnceCell<Option<functions::Symbols>>,
}

impl Symbols {
    /// Reads them now: modules may go while the trace runs, and the names of their functions with them.
    pub(super) fn keep(&self) {
        self.read.get_or_init(|| functions::Symbols::read().ok());
    }

    /// The symbol that an address lies in, and how far behind its start.
    pub(super) fn name(&self, address: u64) -> Option<(&str, u64)> {
        self.read.get_or_init(|| functions::Symbols::read().ok()).as_ref()?.name(address)
    }
}
