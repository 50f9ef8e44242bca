//! What becomes of a packet that we could refuse.

use crate::event::Verdict;
use crate::packet::PROTOCOL_TCP;
use crate::settings::{EXEMPT_PORTS, MODE_ENFORCE, ON_FULL_DROP, Settings};
use crate::tcp;

/// `E2BIG`: how the kernel says that a table holds all that it may.
pub const FULL: i32 = 7;

/// What becomes of a packet to `port` (host byte order) that has no entry, and was given none for the reason `errno`
/// (positive). Only a full table drops: one that is locked has room a moment later. And only SYNs are dropped: without its
/// SYN a connection does not begin, and those that began before stay alive.
#[inline(always)]
#[must_use]
pub fn on_full(settings: &Settings, errno: i32, protocol: u8, tcp_flags: u8, port: u16) -> Verdict {
    let refuses = errno == FULL && settings.mode == MODE_ENFORCE && settings.on_full == ON_FULL_DROP;
    if refuses && protocol == PROTOCOL_TCP && tcp::is_syn(tcp_flags) && !is_exempt(settings, port) {
        Verdict::Dropped
    } else {
        Verdict::Forwarded
    }
}

#[inline(always)]
fn is_exempt(settings: &Settings, port: u16) -> bool {
    let mut at = 0;
    while at < EXEMPT_PORTS {
        // 0 is an unused place, and not a port that anyone serves.
        if port != 0 && settings.exempt_ports[at] == port {
            return true;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PROTOCOL_ICMP, PROTOCOL_UDP};
    use crate::settings::{MODE_OBSERVE, ON_FULL_PASS};
    use crate::tcp::{ACK, RST, SYN};
    use crate::timeout::Timeouts;
    use proptest::prelude::*;

    fn settings(mode: u32, on_full: u32, exempt: &[u16]) -> Settings {
        let mut exempt_ports = [0; EXEMPT_PORTS];
        exempt_ports[..exempt.len()].copy_from_slice(exempt);
        Settings { abi_version: 0, mode, on_full, heartbeat_shift: 0, exempt_ports, timeouts: Timeouts::SECONDS }
    }

    #[test]
    fn only_enforce_with_drop_drops() {
        let syn = |mode, on_full| super::on_full(&settings(mode, on_full, &[]), FULL, PROTOCOL_TCP, SYN, 80);
        assert_eq!(syn(MODE_ENFORCE, ON_FULL_DROP), Verdict::Dropped);
        assert_eq!(syn(MODE_ENFORCE, ON_FULL_PASS), Verdict::Forwarded);
        assert_eq!(syn(MODE_OBSERVE, ON_FULL_DROP), Verdict::Forwarded);
        assert_eq!(syn(MODE_OBSERVE, ON_FULL_PASS), Verdict::Forwarded);
        assert_eq!(syn(7, ON_FULL_DROP), Verdict::Forwarded, "a mode that is none");
        assert_eq!(syn(MODE_ENFORCE, 7), Verdict::Forwarded, "a policy that is none");
    }

    #[test]
    fn only_a_full_table_drops() {
        let enforce = settings(MODE_ENFORCE, ON_FULL_DROP, &[]);
        let (enomem, ebusy) = (12, 16);
        for errno in [enomem, ebusy, 0, -FULL] {
            assert_eq!(on_full(&enforce, errno, PROTOCOL_TCP, SYN, 80), Verdict::Forwarded, "{errno}");
        }
    }

    #[test]
    fn only_the_syn_of_a_connection_is_dropped() {
        let enforce = settings(MODE_ENFORCE, ON_FULL_DROP, &[]);
        for (protocol, flags) in
            [(PROTOCOL_TCP, SYN | ACK), (PROTOCOL_TCP, ACK), (PROTOCOL_TCP, RST), (PROTOCOL_UDP, 0), (PROTOCOL_ICMP, 0)]
        {
            assert_eq!(on_full(&enforce, FULL, protocol, flags, 80), Verdict::Forwarded, "{protocol} {flags:#x}");
        }
        assert_eq!(on_full(&enforce, FULL, PROTOCOL_UDP, SYN, 80), Verdict::Forwarded, "UDP has no flags");
    }

    #[test]
    fn an_unused_place_exempts_nothing() {
        let enforce = settings(MODE_ENFORCE, ON_FULL_DROP, &[22]);
        assert_eq!(on_full(&enforce, FULL, PROTOCOL_TCP, SYN, 0), Verdict::Dropped);
    }

    proptest! {
        #[test]
        fn exactly_the_exempt_ports_pass(exempt in proptest::collection::vec(1_u16.., 0..=EXEMPT_PORTS), port: u16) {
            let enforce = settings(MODE_ENFORCE, ON_FULL_DROP, &exempt);
            for port in exempt.iter().copied().chain([port]) {
                let passes = on_full(&enforce, FULL, PROTOCOL_TCP, SYN, port) == Verdict::Forwarded;
                prop_assert_eq!(passes, exempt.contains(&port));
            }
        }
    }
}
