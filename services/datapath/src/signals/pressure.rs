//! Pressure stall: how long tasks waited for a resource.
//!
//! Reads: `/proc/pressure/{cpu,memory,io}`, the host's whatever the namespace. Cost: three small files, some 10 µs.
//! Unit: µs since boot in the files, ns here. Kernels: 4.20; `full` of `cpu` is 0 by definition on a host (5.13), and not
//! told before. Not observed: built without `CONFIG_PSI`, or switched off (`psi=0`).

use std::collections::BTreeMap;

use synscope_bus::message::signal::Pressure;

use super::text;

/// Reads the host's.
pub fn read() -> Result<BTreeMap<String, Pressure>, String> {
    let resource = |name: &str| {
        let path = format!("/proc/pressure/{name}");
        let pressure = parse(&text(&path)?, name == "cpu").ok_or_else(|| format!("{path} is not as expected"))?;
        Ok((name.to_owned(), pressure))
    };
    ["cpu", "memory", "io"].into_iter().map(resource).collect()
}

fn parse(text: &str, without_full: bool) -> Option<Pressure> {
    let total = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let total = line.split_whitespace().find_map(|field| field.strip_prefix("total="))?;
        total.parse::<u64>().ok()?.checked_mul(1000)
    };
    Some(Pressure {
        some_total_ns: total("some ")?,
        full_total_ns: match total("full ") {
            None if without_full && !text.contains("full ") => 0,
            told => told?,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = "some avg10=0.26 avg60=0.61 avg300=1.04 total=54150721\n\
                          full avg10=0.06 avg60=0.34 avg300=0.65 total=41149983\n";

    #[test]
    fn totals_are_ns() {
        let pressure = Pressure { some_total_ns: 54_150_721_000, full_total_ns: 41_149_983_000 };
        assert_eq!(parse(SAMPLE, false), Some(pressure));
    }

    #[test]
    fn what_is_not_understood_is_not_zero() {
        let old_cpu = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n";
        assert_eq!(parse(old_cpu, true), Some(Pressure { some_total_ns: 12_000, full_total_ns: 0 }));
        assert_eq!(parse(old_cpu, false), None, "memory and io have both since 4.20");
        for text in ["", "some avg10=0.00\nfull avg10=0.00\n", "some total=1\nfull total=x\n"] {
            assert_eq!((parse(text, false), parse(text, true)), (None, None), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "(?s).*", total: u64, without_full: bool) {
            parse(&text, without_full);
            parse(&format!("some total={total}\nfull {text}"), without_full);
        }
    }
}
