//! Any bytes are parsed or refused, and what is cut short is parsed the same or refused as truncated.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synscope_abi::counter::Counter;
use synscope_abi::packet::{self, Packet};

fuzz_target!(|bytes: &[u8]| {
    for parse in [parse, parse_bare] {
        let whole = parse(bytes);
        for length in 0..bytes.len() {
            let cut = parse(&bytes[..length]);
            assert!(cut == whole || cut == Err(Counter::Truncated), "{length} of {} bytes: {cut:?}", bytes.len());
        }
    }
});

fn parse(frame: &[u8]) -> Result<Packet, Counter> {
    let (ethertype, offset) = packet::ethernet(frame)?;
    packet::network(frame, ethertype, offset)
}

fn parse_bare(bytes: &[u8]) -> Result<Packet, Counter> {
    let (ethertype, offset) = packet::bare(bytes)?;
    packet::network(bytes, ethertype, offset)
}
