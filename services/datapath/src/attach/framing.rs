//! What an interface's frames begin with, which decides the programs for it.

use aya::util::KernelVersion;
use nix::libc::{
    ARPHRD_ETHER, ARPHRD_IPGRE, ARPHRD_LOOPBACK, ARPHRD_NONE, ARPHRD_PPP, ARPHRD_SIT, ARPHRD_TUNNEL, ARPHRD_TUNNEL6,
};

use crate::netlink::links::Link;

// include/uapi/linux/if_arp.h
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_IP6GRE: u16 = 823;

/// What frames begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: tunnels, `WireGuard`, modems.
    Bare,
}

/// Why an interface's packets cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Its packets go past programs of others.
    #[error(
        "netkit devices are not supported: programs of their own redirect packets past ours. Use veth, or attach to the node's other interfaces"
    )]
    Netkit,
    /// Its frames are of a kind we have no parser for.
    #[error("its frames begin with neither an Ethernet nor an IP header (ARPHRD type {0})")]
    Frames(u16),
    /// What comes in still has the headers of the packet around it.
    #[error("before kernel 5.14, tunnels hand over what comes in with its outer headers")]
    OuterHeaders,
}

/// The series "net: reset MAC header consistently across L3 virtual devices".
const TUNNELS_SINCE: KernelVersion = KernelVersion::new(5, 14, 0);

impl Framing {
    /// That of an interface, on a kernel of this version.
    pub fn of(link: &Link, kernel: KernelVersion) -> Result<Self, Unsupported> {
        if link.kind.as_deref() == Some("netkit") {
            return Err(Unsupported::Netkit);
        }
        match link.hardware {
            ARPHRD_ETHER | ARPHRD_LOOPBACK => Ok(Self::Ethernet),
            ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT | ARPHRD_IPGRE | ARPHRD_IP6GRE if kernel < TUNNELS_SINCE => {
                Err(Unsupported::OuterHeaders)
            }
            ARPHRD_NONE | ARPHRD_RAWIP | ARPHRD_PPP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT | ARPHRD_IPGRE
            | ARPHRD_IP6GRE => Ok(Self::Bare),
            other => Err(Unsupported::Frames(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let framing = |hardware, kind: Option<&str>| {
            let link = Link { hardware, kind: kind.map(str::to_owned), ..Link::default() };
            [(5, 13), (5, 14)].map(|(major, minor)| Framing::of(&link, KernelVersion::new(major, minor, 0)))
        };
        let same = |framing| [framing, framing];
        assert_eq!(framing(ARPHRD_ETHER, Some("veth")), same(Ok(Framing::Ethernet)));
        assert_eq!(framing(ARPHRD_NONE, Some("wireguard")), same(Ok(Framing::Bare)));
        assert_eq!(framing(ARPHRD_TUNNEL, Some("ipip")), [Err(Unsupported::OuterHeaders), Ok(Framing::Bare)]);
        assert_eq!(framing(ARPHRD_NONE, Some("netkit")), same(Err(Unsupported::Netkit)));
        // InfiniBand.
        assert_eq!(framing(32, None), same(Err(Unsupported::Frames(32))));
    }
}
