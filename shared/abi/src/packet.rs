//! Parsing: from a frame to the five-tuple and the TCP fields that conntrack needs.
//!
//! The parser sees a frame only through [`Bytes`], so that a kernel program can read a packet whose headers lie
//! outside the linear part, and a host test can read a slice. Reads beyond the end are refused, never a panic.

use crate::counter::Counter;

/// `EtherType` of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// `ICMPv6`.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// VLAN tags followed inside the frame; one more may sit in the packet's metadata.
const VLAN_TAGS_MAX: usize = 2;
/// IPv6 extension headers followed; Cilium follows 4 (`IPV6_MAX_HEADERS`).
const EXTENSIONS_MAX: usize = 4;

/// Bytes of a frame.
pub trait Bytes {
    /// The `N` bytes at `offset`, or nothing when the frame ends before them.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Bytes for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }
}

/// Addresses of a packet, network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4 source and destination.
    V4([u8; 4], [u8; 4]),
    /// IPv6 source and destination.
    V6([u8; 16], [u8; 16]),
}

/// What conntrack needs of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source and destination.
    pub addresses: Addresses,
    /// Source port, network byte order; an ICMP echo identifier; else zero.
    pub source_port: [u8; 2],
    /// Destination port, network byte order; an ICMP echo identifier; else zero.
    pub destination_port: [u8; 2],
    /// IP protocol number of the transport header.
    pub protocol: u8,
    /// TCP flags, zero for anything else.
    pub tcp_flags: u8,
    /// TCP sequence number, host byte order.
    pub sequence: u32,
    /// TCP acknowledgement number, host byte order.
    pub acknowledgement: u32,
}

/// Why a frame is not tracked: the counter to raise.
pub type NotTracked = Counter;

/// Where the network header begins in an Ethernet frame, and its `EtherType`, past any VLAN tags.
#[inline(always)]
pub fn ethernet<B: Bytes + ?Sized>(frame: &B) -> Result<(u16, usize), NotTracked> {
    let mut offset = 12;
    let mut tags = 0;
    loop {
        let ethertype = u16::from_be_bytes(frame.read(offset).ok_or(Counter::Truncated)?);
        offset += 2;
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            return Ok((ethertype, offset));
        }
        if tags == VLAN_TAGS_MAX {
            return Err(Counter::TooManyVlanTags);
        }
        tags += 1;
        offset += 2;
    }
}

/// `EtherType` of a packet on a device without Ethernet header, by its IP version.
#[inline(always)]
pub fn bare<B: Bytes + ?Sized>(packet: &B) -> Result<(u16, usize), NotTracked> {
    let [first] = packet.read(0).ok_or(Counter::Truncated)?;
    match first >> 4 {
        4 => Ok((ETHERTYPE_IPV4, 0)),
        6 => Ok((ETHERTYPE_IPV6, 0)),
        _ => Err(Counter::NotIp),
    }
}

/// The packet whose network header of type `ethertype` begins at `offset`.
#[inline(always)]
pub fn network<B: Bytes + ?Sized>(frame: &B, ethertype: u16, offset: usize) -> Result<Packet, NotTracked> {
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, offset),
        ETHERTYPE_IPV6 => ipv6(frame, offset),
        _ => Err(Counter::NotIp),
    }
}

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<Packet, NotTracked> {
    let header: [u8; 20] = frame.read(offset).ok_or(Counter::Truncated)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < 20 {
        return Err(Counter::BadIpv4Header);
    }
    // RFC 791: the low 13 bits of this word are the fragment offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
        return Err(Counter::LaterFragment);
    }
    let addresses = Addresses::V4(
        [header[12], header[13], header[14], header[15]],
        [header[16], header[17], header[18], header[19]],
    );
    transport(frame, offset + header_length, header[9], addresses)
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<Packet, NotTracked> {
    let start: [u8; 8] = frame.read(offset).ok_or(Counter::Truncated)?;
    if start[0] >> 4 != 6 {
        return Err(Counter::BadIpv6Header);
    }
    let source = frame.read(offset + 8).ok_or(Counter::Truncated)?;
    let destination = frame.read(offset + 24).ok_or(Counter::Truncated)?;
    let addresses = Addresses::V6(source, destination);
    let mut next = start[6];
    let mut at = offset + 40;
    let mut extensions = 0;
    loop {
        // RFC 8200 section 4: hop-by-hop 0, routing 43, destination options 60; RFC 4302 authentication 51;
        // fragment 44. Lengths are in units of 8 bytes past the first 8, for authentication of 4 past the first 8.
        let unit = match next {
            0 | 43 | 60 => 8,
            51 => 4,
            44 => 0,
            _ => return transport(frame, at, next, addresses),
        };
        if extensions == EXTENSIONS_MAX {
            return Err(Counter::TooManyExtensions);
        }
        extensions += 1;
        let header: [u8; 4] = frame.read(at).ok_or(Counter::Truncated)?;
        if next == 44 && u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
            return Err(Counter::LaterFragment);
        }
        next = header[0];
        at += 8 + usize::from(header[1]) * unit;
    }
}

#[inline(always)]
fn transport<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    protocol: u8,
    addresses: Addresses,
) -> Result<Packet, NotTracked> {
    let mut packet = Packet {
        addresses,
        source_port: [0; 2],
        destination_port: [0; 2],
        protocol,
        tcp_flags: 0,
        sequence: 0,
        acknowledgement: 0,
    };
    match protocol {
        PROTOCOL_TCP => {
            // Read to the end of the fixed header, so that a cut one is malformed, not half parsed.
            let header: [u8; 20] = frame.read(offset).ok_or(Counter::Truncated)?;
            if header[12] >> 4 < 5 {
                return Err(Counter::BadTcpHeader);
            }
            packet.source_port = [header[0], header[1]];
            packet.destination_port = [header[2], header[3]];
            packet.sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            packet.acknowledgement = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
            packet.tcp_flags = header[13];
        }
        PROTOCOL_UDP => {
            let header: [u8; 8] = frame.read(offset).ok_or(Counter::Truncated)?;
            packet.source_port = [header[0], header[1]];
            packet.destination_port = [header[2], header[3]];
        }
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            let header: [u8; 8] = frame.read(offset).ok_or(Counter::Truncated)?;
            let echo = match protocol {
                PROTOCOL_ICMP => header[0] == 0 || header[0] == 8,
                _ => header[0] == 128 || header[0] == 129,
            };
            if echo {
                packet.source_port = [header[4], header[5]];
                packet.destination_port = packet.source_port;
            }
        }
        _ => {}
    }
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn parse(frame: &[u8]) -> Result<Packet, NotTracked> {
        let (ethertype, offset) = ethernet(frame)?;
        network(frame, ethertype, offset)
    }

    fn tcp_frame(tags: usize) -> std::vec::Vec<u8> {
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = ([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let builder = match tags {
            0 => link.ipv4(ip.0, ip.1, ip.2),
            1 => link.single_vlan(7.try_into().unwrap()).ipv4(ip.0, ip.1, ip.2),
            _ => link.double_vlan(7.try_into().unwrap(), 8.try_into().unwrap()).ipv4(ip.0, ip.1, ip.2),
        };
        let mut frame = std::vec::Vec::new();
        builder.tcp(40_000, 80, 99, 1024).syn().write(&mut frame, &[]).unwrap();
        frame
    }

    #[test]
    fn tcp_behind_no_one_and_two_vlan_tags() {
        for tags in 0..=2 {
            let packet = parse(&tcp_frame(tags)).unwrap();
            assert_eq!(packet.addresses, Addresses::V4([10, 0, 0, 1], [10, 0, 0, 2]));
            assert_eq!(u16::from_be_bytes(packet.source_port), 40_000);
            assert_eq!(u16::from_be_bytes(packet.destination_port), 80);
            assert_eq!((packet.sequence, packet.tcp_flags), (99, crate::tcp::SYN));
        }
    }

    #[test]
    fn every_truncation_is_counted_and_none_is_half_parsed() {
        let frame = tcp_frame(1);
        for length in 0..frame.len() {
            assert_eq!(parse(&frame[..length]), Err(Counter::Truncated), "{length} bytes");
        }
    }

    #[test]
    fn ipv6_extension_headers_are_followed() {
        let mut frame = std::vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, 0, 64]);
        frame.extend([1; 16]);
        frame.extend([2; 16]);
        frame.extend([60, 0, 0, 0, 0, 0, 0, 0]); // hop-by-hop, then
        frame.extend([17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // destination options of 16 bytes, then
        frame.extend([0x30, 0x39, 0, 53, 0, 8, 0, 0]); // UDP
        let packet = parse(&frame).unwrap();
        assert_eq!((packet.protocol, packet.destination_port), (PROTOCOL_UDP, [0, 53]));
    }

    #[test]
    fn later_fragments_are_not_tracked() {
        let mut frame = tcp_frame(0);
        frame[14 + 7] = 1;
        assert_eq!(parse(&frame), Err(Counter::LaterFragment));
    }

    #[test]
    fn bad_headers_have_reasons() {
        let mut frame = tcp_frame(0);
        frame[14] = 0x44;
        assert_eq!(parse(&frame), Err(Counter::BadIpv4Header));
        let mut frame = tcp_frame(0);
        frame[14 + 20 + 12] = 0x40;
        assert_eq!(parse(&frame), Err(Counter::BadTcpHeader));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either_way = parse(&frame);
            let _either_way = bare(frame.as_slice()).and_then(|(kind, at)| network(frame.as_slice(), kind, at));
        }

        #[test]
        fn an_independent_parser_agrees(
            source: [u8; 16], destination: [u8; 16], ports: (u16, u16), sequence: u32, payload in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            let mut frame = std::vec::Vec::new();
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(source, destination, 9)
                .tcp(ports.0, ports.1, sequence, 512).ack(7).write(&mut frame, &payload).unwrap();
            let packet = parse(&frame).unwrap();
            prop_assert_eq!(packet.addresses, Addresses::V6(source, destination));
            prop_assert_eq!((u16::from_be_bytes(packet.source_port), u16::from_be_bytes(packet.destination_port)), ports);
            prop_assert_eq!((packet.sequence, packet.acknowledgement), (sequence, 7));
        }
    }
}
