//! How often one address may ask.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::problem::Problem;

/// Bits of an IPv6 address that name a subscriber; the rest is theirs to choose (RFC 6177).
const SUBSCRIBER: u128 = !0 << 64;

/// Requests of each address.
#[derive(Debug)]
pub(super) struct Rate(Option<DefaultKeyedRateLimiter<IpAddr>>);

impl Rate {
    /// So many a second, and so many at once; either 0: as many as anyone likes.
    pub(super) fn new(per_second: u32, at_once: u32) -> Self {
        let quota = NonZeroU32::new(per_second).zip(NonZeroU32::new(at_once));
        Self(quota.map(|(second, once)| RateLimiter::keyed(Quota::per_second(second).allow_burst(once))))
    }

    /// Counts one request of an address; 429 where it was one too many.
    pub(super) fn take(&self, from: IpAddr) -> Result<(), Problem> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(&subscriber(from)).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Problem::too_many(format!("{from} asks too often"), wait)
        })
    }

    /// Forgets addresses that could ask as often as new ones.
    pub(super) fn forget(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// An address, or of IPv6 what is a subscriber's.
fn subscriber(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_and_a_subscriber_has_one() {
        let rate = Rate::new(1, 2);
        let take = |from: &str| rate.take(from.parse().unwrap()).is_ok();
        assert_eq!([take("10.0.0.1"), take("10.0.0.1"), take("10.0.0.1")], [true, true, false]);
        assert_eq!([take("10.0.0.2"), take("::ffff:10.0.0.1")], [true, false]);
        assert_eq!([take("2001:db8::1"), take("2001:db8::2"), take("2001:db8::3")], [true, true, false]);
        assert!(take("2001:db8:0:1::1"));
        let refused = rate.take("10.0.0.1".parse().unwrap()).unwrap_err();
        assert_eq!(refused.details().status, 429);
    }

    #[test]
    fn without_a_bound_anyone_asks_as_often_as_they_like() {
        let rate = Rate::new(0, 2);
        assert!((0..100).all(|_| rate.take("10.0.0.1".parse().unwrap()).is_ok()));
    }
}
