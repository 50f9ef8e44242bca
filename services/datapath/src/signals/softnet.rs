//! Packets that the CPUs took from their backlogs: `/proc/net/softnet_stat`.
//!
//! Unit: packets and events since boot, all CPUs together; it is the host's, whatever the namespace. Kernels: all.

use synscope_bus::message::signal::Softnet;

use super::text;

/// Reads the host's.
pub fn read() -> Result<Softnet, String> {
    Ok(parse(&text("/proc/thread-self/net/softnet_stat")?))
}

/// A line of hexadecimal columns per CPU; the first three are processed, dropped and time squeeze
/// (`net/core/net-procfs.c`, `softnet_seq_show`).
fn parse(text: &str) -> Softnet {
    let mut sum = Softnet::default();
    for line in text.lines() {
        let mut columns = line.split_whitespace().map(|column| u64::from_str_radix(column, 16).unwrap_or(0));
        let mut next = || columns.next().unwrap_or(0);
        sum.processed += next();
        sum.dropped += next();
        sum.time_squeeze += next();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_summed() {
        let text = "0000000a 00000001 00000002 0\n00000001 00000000 00000001 0\n";
        assert_eq!(parse(text), Softnet { processed: 11, dropped: 1, time_squeeze: 3 });
    }
}
