//! The kernel's connection tracking: `/proc/sys/net/netfilter/nf_conntrack_{count,max}` and
//! `/proc/net/stat/nf_conntrack`, of the calling thread's network namespace.
//!
//! Unit: entries, and events since boot. Kernels: all. A kernel without the module tracks and drops nothing, which is
//! an observation. Not observed: the files are there and cannot be read.

use std::collections::BTreeMap;
use std::path::Path;

use synscope_bus::message::signal::NfConntrack;

use super::text;

/// There when the module is.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// A gauge among the counters; the count is read elsewhere.
const GAUGE: &str = "entries";

/// Reads this thread's namespace, whose inode is `netns`; none when the module is not loaded.
pub fn read(netns: u64) -> Result<Option<NfConntrack>, String> {
    if !Path::new(LIMIT).exists() && Path::new("/proc/sys/net").exists() {
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
        counters: parse(&text("/proc/thread-self/net/stat/nf_conntrack")?),
    }))
}

/// One line of names, then one line of hexadecimal numbers per CPU: summed by name.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let mut counters = BTreeMap::new();
    for line in lines {
        for (name, value) in names.iter().zip(line.split_whitespace()) {
            if let (true, Ok(value)) = (*name != GAUGE, u64::from_str_radix(value, 16)) {
                *counters.entry((*name).to_owned()).or_insert(0_u64) += value;
            }
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counters_are_summed_over_cpus() {
        let text = "entries  clashres found drop early_drop\n0000000a  00000000 00000001 00000010 00000002\n\
                    0000000a  00000001 00000001 00000001 00000000\n";
        let counters = parse(text);
        assert_eq!((counters["drop"], counters["early_drop"], counters["clashres"]), (17, 2, 1));
        assert!(!counters.contains_key("entries"));
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in ".*") {
            parse(&text);
        }
    }
}
