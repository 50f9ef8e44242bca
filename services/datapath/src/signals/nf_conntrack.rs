//! The kernel's connection tracking, of the calling thread's network namespace.
//!
//! Reads: `/proc/sys/net/netfilter/nf_conntrack_{count,max}` and `/proc/thread-self/net/stat/nf_conntrack`. Cost: three
//! small files, some 25 µs. Unit: entries now and at most; events since the namespace was made. Kernels: all; one without
//! the module tracks and drops nothing, which is an observation, and told as no table at all. Not observed: the module is
//! there, or it cannot be told whether it is, and its files cannot be read.

use std::collections::BTreeMap;
use std::path::Path;

use synscope_bus::message::signal::NfConntrack;

use super::text;

/// Modules that are loaded or built in, as far as they have parameters; this one has.
const MODULES: &str = "/sys/module";
const COUNTERS: &str = "/proc/thread-self/net/stat/nf_conntrack";
/// A gauge among the counters, the same on each line; the count is read elsewhere.
const GAUGE: &str = "entries";

/// Reads this thread's namespace, whose inode is `netns`; none when the module is not loaded.
pub fn read(netns: u64) -> Result<Option<NfConntrack>, String> {
    let modules = Path::new(MODULES);
    if modules.exists() && !modules.join("nf_conntrack").exists() {
        return Ok(None);
    }
    let number = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/{name}");
        text(&path)?.trim().parse::<u64>().map_err(|error| format!("{path}: {error}"))
    };
    Ok(Some(NfConntrack {
        netns,
        live: number("nf_conntrack_count")?,
        max: number("nf_conntrack_max")?,
        counters: parse(&text(COUNTERS)?).ok_or_else(|| format!("{COUNTERS} is not as expected"))?,
    }))
}

/// One line of names, then one line of hexadecimal numbers per CPU: summed by name.
fn parse(text: &str) -> Option<BTreeMap<String, u64>> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let mut counters = BTreeMap::new();
    for line in lines {
        let values = line.split_whitespace().map(|value| u64::from_str_radix(value, 16).ok());
        let values = values.collect::<Option<Vec<u64>>>().filter(|values| values.len() == names.len())?;
        for (name, value) in names.iter().zip(values).filter(|(name, _)| **name != GAUGE) {
            let sum = counters.entry((*name).to_owned()).or_insert(0_u64);
            *sum = sum.wrapping_add(value);
        }
    }
    (!counters.is_empty()).then_some(counters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Kernel 6.18, two CPUs, a table that was full.
    const SAMPLE: &str = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop \
                          early_drop icmp_error  expect_new expect_create expect_delete search_restart\n\
                          0000000a  00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
                          00000010 00000002 00000000  00000000 00000000 00000000 00000000\n\
                          0000000a  00000001 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
                          00000001 00000000 00000000  00000000 00000000 00000000 0000000f\n";

    #[test]
    fn counters_are_summed_over_cpus() {
        let counters = parse(SAMPLE).unwrap();
        let named = ["found", "drop", "early_drop", "clashres", "insert_failed", "search_restart"];
        assert_eq!(named.map(|name| counters[name]), [2, 17, 2, 1, 0, 15]);
        assert!(!counters.contains_key("entries"));
    }

    #[test]
    fn what_is_not_understood_is_not_zero() {
        for text in ["", "entries drop\n", "entries drop\n0 x\n", "entries drop\n00000001\n", "drop\n1\n0 0\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "(?s).*") {
            parse(&text);
        }

        #[test]
        fn any_change_of_a_real_one_is_safe(at in 0..SAMPLE.len(), instead: char) {
            let mut text = SAMPLE.to_owned();
            text.replace_range(at..=at, instead.encode_utf8(&mut [0; 4]));
            parse(&text);
        }
    }
}
