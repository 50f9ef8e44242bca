//! TCP's counters, of the calling thread's network namespace.
//!
//! Reads: `TcpExt` of `/proc/thread-self/net/netstat` and `Tcp` of `/proc/thread-self/net/snmp`. Cost: two files that the
//! kernel sums over all possible CPUs, some 50 µs. Unit: events since the namespace was made; `CurrEstab` and the `Rto`
//! numbers are gauges. Kernels: all. Not observed: `/proc` is not there, or a section is not as expected.

use std::collections::BTreeMap;

use synscope_bus::message::signal::TcpCounters;

use super::text;

/// Files, and the sections that are read of them.
const SECTIONS: [(&str, &str); 2] =
    [("/proc/thread-self/net/netstat", "TcpExt:"), ("/proc/thread-self/net/snmp", "Tcp:")];

/// Reads this thread's namespace, whose inode is `netns`.
pub fn read(netns: u64) -> Result<TcpCounters, String> {
    let mut counters = BTreeMap::new();
    for (file, section) in SECTIONS {
        let parsed = parse(&text(file)?, section);
        counters.extend(parsed.ok_or_else(|| format!("{file} has no section {section} as expected"))?);
    }
    Ok(TcpCounters { netns, counters })
}

/// A line of names and a line of as many numbers, both beginning with the section. Negative numbers are no counters, and
/// zeros are left out: of some 150 counters a dozen ever move.
fn parse(text: &str, section: &str) -> Option<BTreeMap<String, u64>> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(section));
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let values = lines.next()?.split_whitespace().map(|value| value.parse::<i128>().ok());
    let values = values.collect::<Option<Vec<i128>>>()?;
    if names.is_empty() || names.len() != values.len() {
        return None;
    }
    let counted = |value: i128| u64::try_from(value).ok().filter(|value| *value > 0);
    Some(names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), counted(value)?))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETSTAT: &str = "TcpExt: SyncookiesSent ListenOverflows TCPSynRetrans\nTcpExt: 1 22 0\n\
                           IpExt: InNoRoutes\nIpExt: 3\n";
    /// Kernel 6.18.
    const SNMP: &str = "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets \
                        CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
                        Tcp: 1 200 120000 -1 5081 2042 31 1404 12 264561 274829 77 0 1660 0\n";

    #[test]
    fn a_section_is_read_by_name() {
        let expected = [("SyncookiesSent".to_owned(), 1), ("ListenOverflows".to_owned(), 22)];
        assert_eq!(parse(NETSTAT, "TcpExt:"), Some(BTreeMap::from(expected)));
        let tcp = parse(SNMP, "Tcp:").unwrap();
        assert_eq!((tcp["ActiveOpens"], tcp["RetransSegs"]), (5081, 77));
        assert!(!tcp.contains_key("MaxConn"), "-1 is no count");
    }

    #[test]
    fn what_is_not_understood_is_not_zero() {
        for text in ["", "Tcp:\nTcp:\n", "Tcp: A B\n", "Tcp: A B\nTcp: 1\n", "Tcp: A B\nTcp: 1 x\n", NETSTAT] {
            assert_eq!(parse(text, "Tcp:"), None, "{text:?}");
        }
        assert_eq!(parse("Tcp: A\nTcp: 0\n", "Tcp:"), Some(BTreeMap::new()), "a zero that was read");
    }

    #[test]
    fn this_namespace_is_read() {
        let _connection = std::net::TcpListener::bind("127.0.0.1:0")
            .map(|listener| std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        assert!(read(1).unwrap().counters["ActiveOpens"] > 0);
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "(?s).*") {
            parse(&text, "Tcp:");
            parse(&format!("Tcp: {text}\nTcp: {text}"), "Tcp:");
        }

        #[test]
        fn any_number_is_safe(value: i128) {
            let text = format!("Tcp: A\nTcp: {value}\n");
            prop_assert!(parse(&text, "Tcp:").is_some());
        }
    }
}
