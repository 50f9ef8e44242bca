//! Names of addresses in the kernel's code, and stacks by their numbers.

use std::io;

use super::stack;
use super::value::Value;
use crate::load::Loaded;
use crate::types::Space;

/// The kernel's symbols, read when the first is needed.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    by_address: Option<Vec<(u64, String)>>,
}

impl Symbols {
    /// A value with names in place of addresses, where names are known.
    pub(super) fn resolve(&mut self, value: Value, loaded: &Loaded) -> Value {
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
    pub(super) fn name(&mut self, address: u64) -> Option<(&str, u64)> {
        let symbols = self.by_address.get_or_insert_with(|| read().unwrap_or_default());
        let behind = symbols.partition_point(|(start, _)| *start <= address);
        let (start, name) = symbols.get(behind.checked_sub(1)?)?;
        (*start > 0).then(|| (name.as_str(), address - start))
    }
}

/// Functions as `/proc/kallsyms` lists them.
fn read() -> io::Result<Vec<(u64, String)>> {
    let text = std::fs::read_to_string("/proc/kallsyms")?;
    let symbol = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next()?;
        let name = words.next()?;
        matches!(kind, "t" | "T" | "w" | "W").then(|| (address, name.to_owned()))
    };
    let mut symbols: Vec<(u64, String)> = text.lines().filter_map(symbol).collect();
    // Several names of one address: the first listed counts.
    symbols.sort_by_key(|(address, _)| *address);
    symbols.dedup_by_key(|(address, _)| *address);
    Ok(symbols)
}
