//! Frames of every kind the parser knows, built from a description that also says what must come of them; and the same
//! damaged, of which only two parsers can say whether they agree.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use synscope_abi::counter::Counter;
use synscope_abi::packet::{Addresses, Packet};

/// A frame, layer by layer.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// VLAN tags by their `EtherType`, the outermost first.
    pub(crate) tags: Vec<u16>,
    network: Network,
    transport: Transport,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Network {
    V4 {
        addresses: [[u8; 4]; 2],
        option_words: u8,
        fragment: Fragment,
    },
    V6 {
        addresses: [[u8; 16]; 2],
        extensions: Vec<Extension>,
    },
    /// Neither, of this `EtherType`.
    Other(u16),
}

/// Which part of its packet a frame holds; offsets in units of 8 bytes.
#[derive(Clone, Copy, Debug)]
enum Fragment {
    Whole,
    First,
    Later(u16),
}

/// An IPv6 extension header; lengths as they are written, in the units of each.
#[derive(Clone, Copy, Debug)]
enum Extension {
    HopByHop(u8),
    Routing(u8),
    Destination(u8),
    Authentication(u8),
    Fragment(Fragment),
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp { ports: [u16; 2], sequence: u32, acknowledgement: u32, flags: u8, option_words: u8 },
    Udp { ports: [u16; 2] },
    Icmp { kind: u8, identifier: u16 },
    Icmpv6 { kind: u8, identifier: u16 },
    Other(u8),
}

impl Frame {
    /// What the parser must say of it on a device with Ethernet headers.
    pub(crate) fn parsed(&self) -> Result<Packet, Counter> {
        // IEEE 802.1ad has an outer and an inner one.
        if self.tags.len() > 2 { Err(Counter::TooManyVlanTags) } else { self.parsed_bare() }
    }

    /// What it must say of the packet without Ethernet header.
    pub(crate) fn parsed_bare(&self) -> Result<Packet, Counter> {
        let addresses = match &self.network {
            Network::Other(_) => return Err(Counter::NotIp),
            Network::V4 { fragment: Fragment::Later(_), .. } => return Err(Counter::LaterFragment),
            Network::V4 { addresses: [source, destination], .. } => Addresses::V4(*source, *destination),
            Network::V6 { addresses: [source, destination], extensions } => {
                for (number, extension) in extensions.iter().enumerate() {
                    match extension {
                        _ if number == 4 => return Err(Counter::TooManyExtensions),
                        Extension::Fragment(Fragment::Later(_)) => return Err(Counter::LaterFragment),
                        _ => {}
                    }
                }
                Addresses::V6(*source, *destination)
            }
        };
        let mut packet = Packet {
            addresses,
            source_port: [0; 2],
            destination_port: [0; 2],
            protocol: self.transport.protocol(),
            tcp_flags: 0,
            sequence: 0,
            acknowledgement: 0,
        };
        match self.transport {
            Transport::Tcp { ports, sequence, acknowledgement, flags, .. } => {
                [packet.source_port, packet.destination_port] = ports.map(u16::to_be_bytes);
                (packet.sequence, packet.acknowledgement, packet.tcp_flags) = (sequence, acknowledgement, flags);
            }
            Transport::Udp { ports } => [packet.source_port, packet.destination_port] = ports.map(u16::to_be_bytes),
            Transport::Icmp { kind: 0 | 8, identifier } | Transport::Icmpv6 { kind: 128 | 129, identifier } => {
                [packet.source_port, packet.destination_port] = [identifier.to_be_bytes(); 2];
            }
            Transport::Icmp { .. } | Transport::Icmpv6 { .. } | Transport::Other(_) => {}
        }
        Ok(packet)
    }

    /// Its bytes, from the Ethernet header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![2; 6];
        bytes.extend([4; 6]);
        for (number, tag) in (1_u16..).zip(&self.tags) {
            bytes.extend(tag.to_be_bytes());
            bytes.extend(number.to_be_bytes());
        }
        let ethertype = match self.network {
            Network::V4 { .. } => 0x0800,
            Network::V6 { .. } => 0x86dd,
            Network::Other(ethertype) => ethertype,
        };
        bytes.extend(u16::to_be_bytes(ethertype));
        bytes.extend(self.bytes_bare());
        bytes
    }

    /// Its bytes, from the network header on.
    pub(crate) fn bytes_bare(&self) -> Vec<u8> {
        let mut rest = self.transport.bytes();
        rest.extend(&self.payload);
        let protocol = self.transport.protocol();
        match &self.network {
            // As a request of ARP begins: of no IP version.
            Network::Other(_) => [&[0, 1][..], &rest].concat(),
            Network::V4 { addresses, option_words, fragment } => {
                let header = 20 + usize::from(*option_words) * 4;
                let length = u16::try_from(header + rest.len()).expect("payloads are short").to_be_bytes();
                let (flags, offset) = match fragment {
                    Fragment::Whole => (0, 0),
                    Fragment::First => (0x2000, 0),
                    Fragment::Later(offset) => (0, *offset),
                };
                let fragment = (flags | offset).to_be_bytes();
                let mut bytes = vec![0x45 + option_words, 0, length[0], length[1], 0, 1, fragment[0], fragment[1]];
                bytes.extend([64, protocol, 0, 0]);
                bytes.extend(addresses.as_flattened());
                // Options that do nothing (RFC 791).
                bytes.resize(header, 1);
                [bytes, rest].concat()
            }
            Network::V6 { addresses, extensions } => {
                let mut chain = Vec::new();
                let after = extensions.iter().skip(1).map(|extension| extension.protocol()).chain([protocol]);
                for (extension, next) in extensions.iter().zip(after) {
                    chain.extend(extension.bytes(next));
                }
                let length = u16::try_from(chain.len() + rest.len()).expect("payloads are short").to_be_bytes();
                let first = extensions.first().map_or(protocol, |extension| extension.protocol());
                let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], first, 64];
                bytes.extend(addresses.as_flattened());
                [bytes, chain, rest].concat()
            }
        }
    }
}

impl Extension {
    const fn protocol(self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Routing(_) => 43,
            Self::Destination(_) => 60,
            Self::Authentication(_) => 51,
            Self::Fragment(_) => 44,
        }
    }

    /// RFC 8200 section 4 and RFC 4302 section 2.
    fn bytes(self, next: u8) -> Vec<u8> {
        let (length, bytes) = match self {
            Self::HopByHop(length) | Self::Routing(length) | Self::Destination(length) => {
                (length, 8 + usize::from(length) * 8)
            }
            Self::Authentication(length) => (length, 8 + usize::from(length) * 4),
            Self::Fragment(fragment) => {
                let word = match fragment {
                    Fragment::Whole => 0_u16,
                    Fragment::First => 1,
                    Fragment::Later(offset) => offset << 3,
                };
                return [&[next, 0], &word.to_be_bytes()[..], &[0, 0, 0, 7]].concat();
            }
        };
        let mut header = vec![next, length];
        header.resize(bytes, 0);
        header
    }
}

impl Transport {
    const fn protocol(self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmp { .. } => 1,
            Self::Icmpv6 { .. } => 58,
            Self::Other(protocol) => protocol,
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Tcp { ports, sequence, acknowledgement, flags, option_words } => {
                let mut bytes = [ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat();
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledgement.to_be_bytes());
                bytes.extend([(5 + option_words) << 4, flags, 4, 0, 0, 0, 0, 0]);
                bytes.resize(20 + usize::from(option_words) * 4, 1);
                bytes
            }
            Self::Udp { ports } => [ports[0].to_be_bytes(), ports[1].to_be_bytes(), [0, 8], [0, 0]].concat(),
            Self::Icmp { kind, identifier } | Self::Icmpv6 { kind, identifier } => {
                [[kind, 0], [0, 0], identifier.to_be_bytes(), [0, 1]].concat()
            }
            Self::Other(_) => Vec::new(),
        }
    }
}

/// Any frame that nothing is wrong with, but what the parser does not follow.
pub(crate) fn frames() -> impl Strategy<Value = Frame> {
    let tags = prop_oneof![8 => vec(select(vec![0x8100, 0x88a8]), 0..=2), 1 => vec(Just(0x8100), 3..=4)];
    (tags, network(), transport(), vec(any::<u8>(), 0..40)).prop_map(|(tags, network, transport, payload)| Frame {
        tags,
        network,
        transport,
        payload,
    })
}

fn network() -> impl Strategy<Value = Network> {
    let options = prop_oneof![2 => Just(0_u8), 1 => 1..=10_u8];
    let v4 = (any::<[[u8; 4]; 2]>(), options, fragment()).prop_map(|(addresses, option_words, fragment)| Network::V4 {
        addresses,
        option_words,
        fragment,
    });
    let v6 = (any::<[[u8; 16]; 2]>(), vec(extension(), 0..=5))
        .prop_map(|(addresses, extensions)| Network::V6 { addresses, extensions });
    prop_oneof![8 => v4, 8 => v6, 1 => select(vec![0x0806, 0x8847, 0x0200]).prop_map(Network::Other)]
}

fn fragment() -> impl Strategy<Value = Fragment> {
    prop_oneof![6 => Just(Fragment::Whole), 1 => Just(Fragment::First), 1 => (1..0x2000_u16).prop_map(Fragment::Later)]
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (0..4_u8).prop_map(Extension::HopByHop),
        (0..4_u8).prop_map(Extension::Routing),
        (0..4_u8).prop_map(Extension::Destination),
        (0..8_u8).prop_map(Extension::Authentication),
        fragment().prop_map(Extension::Fragment),
    ]
}

fn transport() -> impl Strategy<Value = Transport> {
    let ports = any::<[u16; 2]>();
    let tcp = (ports, any::<u32>(), any::<u32>(), any::<u8>(), 0..=10_u8).prop_map(
        |(ports, sequence, acknowledgement, flags, option_words)| Transport::Tcp {
            ports,
            sequence,
            acknowledgement,
            flags,
            option_words,
        },
    );
    let echo = |kinds: Vec<u8>| prop_oneof![2 => select(kinds), 1 => any::<u8>()];
    prop_oneof![
        4 => tcp,
        2 => ports.prop_map(|ports| Transport::Udp { ports }),
        1 => (echo(vec![0, 8]), any::<u16>()).prop_map(|(kind, identifier)| Transport::Icmp { kind, identifier }),
        1 => (echo(vec![128, 129]), any::<u16>()).prop_map(|(kind, identifier)| Transport::Icmpv6 { kind, identifier }),
        1 => select(vec![2, 41, 47, 50, 59, 89, 132, 253]).prop_map(Transport::Other),
    ]
}

/// Bytes of a frame with some of them changed, and perhaps cut short; `build` makes them.
pub(crate) fn damaged(build: impl Fn(&Frame) -> Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    // Values that mean something in one header or another are likelier than chance makes them.
    let telling = select(vec![0, 1, 4, 6, 17, 43, 44, 0x08, 0x44, 0x4f, 0x60, 0x81, 0x86, 0xa8, 0xdd, 0xff]);
    let value = prop_oneof![telling, any::<u8>()];
    let changes = vec((any::<Index>(), value), 0..4);
    let cut = proptest::option::of(any::<Index>());
    (frames().prop_map(move |frame| build(&frame)), changes, cut).prop_map(|(mut bytes, changes, cut)| {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}
