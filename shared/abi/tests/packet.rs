//! The parser on frames of every kind, whole, cut short and damaged.
//!
//! `PROPTEST_CASES` says how many of each; the default takes a second.

#![allow(clippy::expect_used, reason = "a test stops at the first surprise")]

mod frames;

use frames::{Frame, damaged, frames};
use proptest::prelude::*;
use synscope_abi::counter::Counter;
use synscope_abi::packet::{self, Packet};

fn parse(frame: &[u8]) -> Result<Packet, Counter> {
    let (ethertype, offset) = packet::ethernet(frame)?;
    packet::network(frame, ethertype, offset)
}

fn parse_bare(bytes: &[u8]) -> Result<Packet, Counter> {
    let (ethertype, offset) = packet::bare(bytes)?;
    packet::network(bytes, ethertype, offset)
}

proptest! {
    #[test]
    fn a_frame_is_parsed_as_it_was_built(frame in frames()) {
        prop_assert_eq!(parse(&frame.bytes()), frame.parsed());
        prop_assert_eq!(parse_bare(&frame.bytes_bare()), frame.parsed_bare());
    }

    #[test]
    fn a_frame_cut_short_is_parsed_the_same_or_truncated_and_never_half(frame in frames()) {
        for (bytes, whole, parse) in [
            (frame.bytes(), frame.parsed(), parse as fn(&[u8]) -> _),
            (frame.bytes_bare(), frame.parsed_bare(), parse_bare),
        ] {
            for length in 0..bytes.len() {
                let cut = parse(&bytes[..length]);
                prop_assert!(cut == whole || cut == Err(Counter::Truncated), "{length} of {} bytes: {cut:?}", bytes.len());
            }
        }
    }

    #[test]
    fn what_is_not_in_the_headers_changes_nothing(frame in frames(), more in proptest::collection::vec(any::<u8>(), 0..40)) {
        let longer = [frame.bytes(), more].concat();
        prop_assert_eq!(parse(&longer), frame.parsed());
    }

    #[test]
    fn a_damaged_frame_is_parsed_or_refused(
        bytes in damaged(Frame::bytes), bare in damaged(Frame::bytes_bare)
    ) {
        let _either_way = (parse(&bytes), parse_bare(&bare));
    }
}
