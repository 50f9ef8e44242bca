//! Stacks: a line for each frame.

use super::decode::word;
use super::symbols::Symbols;
use crate::load::Loaded;
use crate::settings::StackMode;
use crate::types::{Frames, Space};

/// A stack's frames, innermost first, behind an empty line.
pub(super) fn text(symbols: &Symbols, space: Space, number: i64, frames: Frames, loaded: &Loaded) -> String {
    let found = u32::try_from(number).ok().and_then(|number| loaded.stacks()?.get(&number.to_ne_bytes()).ok()?);
    let Some(bytes) = found else { return "\n".to_owned() };
    let addresses = (0..bytes.len() / 8)
        .map(|index| word(&bytes, index * 8))
        .take_while(|address| *address != 0)
        .take(frames.depth as usize);
    let mut text = "\n".to_owned();
    for address in addresses {
        let name = || match space {
            Space::Kernel => symbols.name(address).map(|(name, offset)| format!("{name}+{offset}")),
            Space::User => None,
        };
        let line = match frames.mode {
            StackMode::Bpftrace => format!("        {}\n", name().unwrap_or_else(|| format!("{address:#x}"))),
            StackMode::Perf => format!("\t{address:x} {}\n", name().unwrap_or_else(|| format!("{address:#x}"))),
            StackMode::Raw => format!("{address:x}\n"),
        };
        text.push_str(&line);
    }
    text
}
