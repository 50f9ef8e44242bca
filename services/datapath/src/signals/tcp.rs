//! TCP's counters: `/proc/net/netstat` (`TcpExt`) and `/proc/net/snmp` (`Tcp`), of the calling thread's network namespace.
//!
//! Unit: events since the namespace was made. Kernels: all. Not observed: `/proc` is not there.

use std::collections::BTreeMap;

use synscope_bus::message::signal::TcpCounters;

use super::text;

/// Reads this thread's namespace, whose inode is `netns`.
pub fn read(netns: u64) -> Result<TcpCounters, String> {
    let mut counters = parse(&text("/proc/thread-self/net/netstat")?, "TcpExt:");
    counters.extend(parse(&text("/proc/thread-self/net/snmp")?, "Tcp:"));
    Ok(TcpCounters { netns, counters })
}

/// A line of names and a line of numbers, both beginning with the section. Negative numbers are no counters, and zeros
/// are left out: of some 150 counters a dozen ever move.
fn parse(text: &str, section: &str) -> BTreeMap<String, u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(section));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let pairs = names.split_whitespace().zip(values.split_whitespace());
    let parsed = pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    parsed.filter(|(_, value)| *value > 0).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_section_is_read_by_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 1 22\nIpExt: InNoRoutes\nIpExt: 3\n";
        assert_eq!(
            parse(text, "TcpExt:"),
            BTreeMap::from([("SyncookiesSent".into(), 1), ("ListenOverflows".into(), 22)])
        );
        assert_eq!(parse("Tcp: MaxConn RetransSegs\nTcp: -1 5\n", "Tcp:"), BTreeMap::from([("RetransSegs".into(), 5)]));
    }

    #[test]
    fn this_namespace_is_read() {
        let _connection = std::net::TcpListener::bind("127.0.0.1:0")
            .map(|listener| std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        assert!(read(1).unwrap().counters["ActiveOpens"] > 0);
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in ".*") {
            parse(&text, "Tcp:");
        }
    }
}
