//! The kernel's functions by name: those that probes can be put at, and where they lie.

use std::io;
use std::path::Path;

use synscope_btf::Pattern;

use crate::target::KernelFunction;
use crate::words::nearest;

/// Where the kernel lists the functions that it can write calls into.
const TRACEABLE: [&str; 2] =
    ["/sys/kernel/tracing/available_filter_functions", "/sys/kernel/debug/tracing/available_filter_functions"];
/// Where it lists all of its symbols.
const SYMBOLS: &str = "/proc/kallsyms";

/// The functions that can be traced.
#[derive(Debug)]
pub(crate) struct Traceable {
    /// Sorted by name; each name once.
    functions: Vec<KernelFunction>,
    /// Names that several functions have: none of them can be told from the others.
    ambiguous: Vec<KernelFunction>,
}

impl Traceable {
    /// Those of this kernel.
    pub(crate) fn read() -> io::Result<Self> {
        let text = match TRACEABLE.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => std::fs::read_to_string(path)?,
            None => String::new(),
        };
        Ok(Self::parse(&text))
    }

    /// `tcp_v4_connect`, or `nf_conntrack_in [nf_conntrack]`.
    fn parse(text: &str) -> Self {
        let function = |line: &str| {
            let (name, module) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let module = module.trim().strip_prefix('[').and_then(|module| module.strip_suffix(']'));
            KernelFunction { name: name.to_owned(), module: module.map(str::to_owned) }
        };
        // Where memory of the kernel was given back, lines say so.
        let mut all: Vec<KernelFunction> =
            text.lines().filter(|line| !line.starts_with("__ftrace_invalid")).map(function).collect();
        all.sort_unstable();
        let mut functions = Vec::new();
        let mut ambiguous = Vec::new();
        for same in all.chunk_by(|a, b| a == b) {
            if let Some(first) = same.first() {
                if same.len() == 1 { &mut functions } else { &mut ambiguous }.push(first.clone());
            }
        }
        Self { functions, ambiguous }
    }

    /// Those like a pattern, of a module if it is named; and how many are left out because others have their name.
    pub(crate) fn like(&self, module: Option<&str>, pattern: &str) -> (Vec<KernelFunction>, usize) {
        let (pattern, module) = (Pattern::new(pattern), module.map(Pattern::new));
        let is_it = |function: &&KernelFunction| {
            pattern.matches(&function.name) && module.as_ref().is_none_or(|module| module.matches(function.home()))
        };
        let found = self.functions.iter().filter(is_it).cloned().collect();
        (found, self.ambiguous.iter().filter(is_it).count())
    }
}

/// Functions by address.
#[derive(Debug)]
pub(crate) struct Symbols {
    /// Sorted by address, with the name of the module they are in.
    functions: Vec<(u64, KernelFunction)>,
}

impl Symbols {
    /// Those of this kernel and its modules.
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(SYMBOLS)?))
    }

    /// `ffffffff81000000 T tcp_v4_connect`, and behind it `[module]`, with tabs or blanks between.
    fn parse(text: &str) -> Self {
        let symbol = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let kind = words.next()?;
            let name = words.next()?.to_owned();
            let module = words.next().map(|module| module.trim_matches(['[', ']']).to_owned());
            matches!(kind, "t" | "T" | "w" | "W").then_some((address, KernelFunction { name, module }))
        };
        let mut functions: Vec<_> = text.lines().filter_map(symbol).collect();
        functions.sort_by_key(|(address, _)| *address);
        Self { functions }
    }

    /// The symbol that an address lies in, and how far behind its start. Of several names the first listed counts.
    pub(crate) fn name(&self, address: u64) -> Option<(&str, u64)> {
        let behind = self.functions.partition_point(|(start, _)| *start <= address);
        let (start, _) = self.functions.get(behind.checked_sub(1)?)?;
        let first = self.functions.partition_point(|(other, _)| other < start);
        let (_, function) = self.functions.get(first)?;
        (*start > 0).then(|| (function.name.as_str(), address - start))
    }

    /// The functions of this name, with their addresses.
    pub(crate) fn called<'s>(
        &'s self,
        module: Option<&'s str>,
        name: &'s str,
    ) -> impl Iterator<Item = &'s (u64, KernelFunction)> {
        let of_module = move |function: &KernelFunction| module.is_none_or(|module| function.home() == module);
        self.functions.iter().filter(move |(_, function)| function.name == name && of_module(function))
    }

    /// What the compiler made of a function instead of it: `name.isra.0`, `name.part.0`, `name.constprop.0`.
    pub(crate) fn variants(&self, name: &str) -> Vec<&str> {
        let is_it = |other: &&str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.functions.iter().map(|(_, function)| function.name.as_str()).filter(is_it).collect()
    }

    /// A function of nearly this name.
    pub(crate) fn near(&self, name: &str) -> Option<&str> {
        nearest(name, self.functions.iter().map(|(_, function)| function.name.as_str()))
    }
}

/// Where a symbol lies, be it a function or not; 0 where the kernel does not tell.
pub(crate) fn address(name: &str) -> io::Result<Option<u64>> {
    Ok(address_in(&std::fs::read_to_string(SYMBOLS)?, name))
}

fn address_in(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?;
        (words.nth(1)? == name).then(|| u64::from_str_radix(address, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, module: Option<&str>) -> KernelFunction {
        KernelFunction { name: name.to_owned(), module: module.map(str::to_owned) }
    }

    #[test]
    fn functions_are_found_by_pattern_and_module() {
        let traceable = Traceable::parse(
            "tcp_v6_connect\ntcp_v4_connect\nnf_hook [nf_tables]\n__ftrace_invalid_address___64\ntcp_show\ntcp_show\n",
        );
        let (found, left_out) = traceable.like(None, "tcp_*");
        assert_eq!(found, [named("tcp_v4_connect", None), named("tcp_v6_connect", None)]);
        assert_eq!(left_out, 1);
        assert_eq!(traceable.like(Some("nf_tables"), "*").0, [named("nf_hook", Some("nf_tables"))]);
        assert_eq!(traceable.like(Some("vmlinux"), "*").0.len(), 2);
    }

    #[test]
    fn symbols_lie_somewhere() {
        let text = "ffffffff81000010 T first\nffffffff82000020 D data\n0 t hidden\t[module]\n";
        assert_eq!(address_in(text, "data"), Some(0xffff_ffff_8200_0020));
        assert_eq!(address_in(text, "hidden"), Some(0));
        assert_eq!(address_in(text, "dat"), None);
    }

    #[test]
    fn addresses_have_the_name_that_is_listed_first() {
        let symbols = Symbols::parse(
            "00000010 t first\n00000010 T alias\n00000020 D data\n00000030 t f.isra.0\n00000040 t other\t[module]\n",
        );
        assert_eq!(symbols.name(0x18), Some(("first", 8)));
        assert_eq!(symbols.name(8), None);
        assert_eq!(symbols.called(Some("module"), "other").count(), 1);
        assert_eq!(symbols.called(Some("vmlinux"), "other").count(), 0);
        assert_eq!(symbols.variants("f"), ["f.isra.0"]);
        assert_eq!(symbols.near("frist"), Some("first"));
    }
}
