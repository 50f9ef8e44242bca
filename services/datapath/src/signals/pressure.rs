//! Pressure stall: `/proc/pressure/{cpu,memory,io}`.
//!
//! Unit: µs since boot in the file, ns here. Kernels: 4.20, unless switched off (`psi=0`).

use std::collections::BTreeMap;

use synscope_bus::message::signal::Pressure;

use super::text;

/// Reads the host's.
pub fn read() -> Result<BTreeMap<String, Pressure>, String> {
    let resource = |name: &str| Ok((name.to_owned(), parse(&text(&format!("/proc/pressure/{name}"))?)));
    ["cpu", "memory", "io"].into_iter().map(resource).collect()
}

fn parse(text: &str) -> Pressure {
    let total = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let total = line.split_whitespace().find_map(|field| field.strip_prefix("total="))?;
        total.parse::<u64>().ok()?.checked_mul(1000)
    };
    Pressure { some_total_ns: total("some ").unwrap_or(0), full_total_ns: total("full ").unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_ns() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        assert_eq!(parse(text), Pressure { some_total_ns: 12_000, full_total_ns: 3000 });
    }
}
