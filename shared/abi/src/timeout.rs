//! When an entry without packets is forgotten.

use crate::tcp::State;

/// Time-outs per class of state, in the unit of the clock they are compared with (jiffies in kernel programs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Timeouts {
    /// A SYN without answer, or a SYN-ACK without ACK.
    pub handshake: u64,
    /// An established TCP connection, also one met in the middle.
    pub established: u64,
    /// After the first FIN.
    pub closing: u64,
    /// After both FINs or a reset.
    pub closed: u64,
    /// Anything but TCP.
    pub other: u64,
    /// A SYN that was given no entry and does not come again.
    pub pending: u64,
}

impl Timeouts {
    /// Defaults in seconds: Cilium's `bpf-ct-timeout-*` (SYN 60, TCP 8000, FIN 10, any 60). The handshake waits
    /// 130 s, because a SYN is sent again for up to 127 s (RFC 6298, `tcp_syn_retries` = 6); the longest pause between two
    /// copies is 64 s of these.
    pub const SECONDS: Self =
        Self { handshake: 130, established: 8_000, closing: 60, closed: 10, other: 60, pending: 66 };

    /// The same time-outs in another unit, `per_second` of which make a second.
    #[must_use]
    pub const fn times(self, per_second: u64) -> Self {
        Self {
            handshake: self.handshake.saturating_mul(per_second),
            established: self.established.saturating_mul(per_second),
            closing: self.closing.saturating_mul(per_second),
            closed: self.closed.saturating_mul(per_second),
            other: self.other.saturating_mul(per_second),
            pending: self.pending.saturating_mul(per_second),
        }
    }

    /// How long an entry in `state` may stay silent.
    #[inline(always)]
    #[must_use]
    pub const fn of(&self, state: State) -> u64 {
        match state {
            State::SynSent | State::SynReceived => self.handshake,
            State::Established | State::MidStream | State::HalfSeen => self.established,
            State::FinWait => self.closing,
            State::TimeWait | State::Reset => self.closed,
            State::Unreplied | State::Replied => self.other,
        }
    }
}

/// Whether what was last seen at `last_seen`, and may stay silent for `timeout`, is to be forgotten at `now`. A clock that
/// seems to run backwards (two CPUs) never expires anything.
#[inline(always)]
#[must_use]
pub const fn is_expired(now: u64, last_seen: u64, timeout: u64) -> bool {
    now.saturating_sub(last_seen) > timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_expires_by_state() {
        let timeouts = Timeouts::SECONDS.times(250);
        assert!(!is_expired(2_500, 0, timeouts.of(State::TimeWait)));
        assert!(is_expired(2_501, 0, timeouts.of(State::TimeWait)));
        assert!(!is_expired(2_501, 0, timeouts.of(State::Established)));
    }

    #[test]
    fn a_clock_running_backwards_expires_nothing() {
        assert!(!is_expired(5, 10, 0));
    }
}
