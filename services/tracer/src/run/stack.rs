//! Stacks: a line for each frame.

use super::decode::word;
use super::symbols::Symbols;
use crate::load::Loaded;
use crate::types::Space;

/// A stack's frames, innermost first, between empty lines.
pub(super) fn text(symbols: &Symbols, space: Space, number: i64, depth: u32, loaded: &Loaded) -> String {
    let found = u32::try_from(number).ok().and_then(|number| loaded.stacks()?.get(&number.to_ne_bytes()).ok()?);
    let Some(bytes) = found else { return "\n".to_owned() };
    let mut text = "\n".to_owned();
    let frames = (0..bytes.len() / 8)
        .map(|index| word(&bytes, index * 8))
        .take_while(|address| *address != 0)
        .take(depth as usize);
    for address in frames {
        let name = match space {
            Space::Kernel => symbols.name(address),
            Space::User => None,
        };
        let line = name.map_or_else(|| format!("{address:#x}"), |(name, offset)| format!("{name}+{offset}"));
        text.extend(["        ", &line, "\n"]);
    }
    text
}
