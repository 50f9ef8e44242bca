//! Packets that the CPUs took from their backlogs.
//!
//! Reads: `/proc/thread-self/net/softnet_stat`, the host's whatever the namespace. Cost: one small file, some 5 µs. Unit:
//! packets and events since boot, all CPUs that are online together; each CPU's number has 32 bits and starts again at 0
//! beyond. Kernels: all. Not observed: `/proc` is not there, or the file is not as expected.

use synscope_bus::message::signal::Softnet;

use super::text;

const FILE: &str = "/proc/thread-self/net/softnet_stat";

/// Reads the host's.
pub fn read() -> Result<Softnet, String> {
    parse(&text(FILE)?).ok_or_else(|| format!("{FILE} is not as expected"))
}

/// A line of hexadecimal columns per CPU; the first three are processed, dropped and time squeeze
/// (`net/core/net-procfs.c`, `softnet_seq_show`).
fn parse(text: &str) -> Option<Softnet> {
    let mut sum = None;
    for line in text.lines() {
        let mut columns = line.split_whitespace();
        let mut next = || u32::from_str_radix(columns.next()?, 16).ok().map(u64::from);
        let cpu = Softnet { processed: next()?, dropped: next()?, time_squeeze: next()? };
        let so_far = sum.get_or_insert_with(Softnet::default);
        so_far.processed += cpu.processed;
        so_far.dropped += cpu.dropped;
        so_far.time_squeeze += cpu.time_squeeze;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Kernel 6.18, two CPUs.
    const SAMPLE: &str = "001ceed2 00000003 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
                          00000000 00000000 00000000 00000000 00000000\n\
                          0016aa7e 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 \
                          00000000 00000000 00000001 00000000 00000000\n";

    #[test]
    fn cpus_are_summed() {
        let sum = Softnet { processed: 0x1c_eed2 + 0x16_aa7e, dropped: 3, time_squeeze: 1 };
        assert_eq!(parse(SAMPLE), Some(sum));
    }

    #[test]
    fn what_is_not_understood_is_not_zero() {
        for text in ["", "\n", "00000001 00000002\n", "00000001 x 00000003\n", "1 2 3\n\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "(?s).*") {
            parse(&text);
        }

        #[test]
        fn any_numbers_are_summed(cpus in prop::collection::vec(any::<[u32; 3]>(), 1..64)) {
            let lines = cpus.iter().map(|[a, b, c]| format!("{a:08x} {b:08x} {c:08x} 0\n"));
            let sum = parse(&lines.collect::<String>()).unwrap();
            prop_assert_eq!(sum.processed, cpus.iter().map(|cpu| u64::from(cpu[0])).sum::<u64>());
        }
    }
}
