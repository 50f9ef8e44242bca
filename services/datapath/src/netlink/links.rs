//! Network interfaces.

use std::io;

use nix::libc::{IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, RTM_GETLINK};

use super::{array, attribute, list, text};

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index in this network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `ARPHRD_…` (`include/uapi/linux/if_arp.h`): what its frames begin with.
    pub hardware: u16,
    /// What software device it is, such as `veth`; none for hardware and for what says nothing.
    pub kind: Option<String>,
}

impl Link {
    fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(HEADER..)?;
        let kind = attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
        Some(Self {
            index: u32::from_ne_bytes(array(body, 4)?),
            name: text(attribute(attributes, IFLA_IFNAME)?),
            hardware: u16::from_ne_bytes(array(body, 2)?),
            kind: kind.map(text),
        })
    }
}

/// All interfaces.
pub fn all() -> io::Result<Vec<Link>> {
    let answers = list(RTM_GETLINK, &[0; HEADER])?;
    Ok(answers.iter().filter_map(|body| Link::read(body)).collect())
}

/// The interface of this name.
pub fn named(name: &str) -> io::Result<Link> {
    all()?.into_iter().find(|link| link.name == name).ok_or_else(|| io::Error::from_raw_os_error(nix::libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there() {
        let lo = named("lo").unwrap();
        assert_eq!((lo.index, lo.hardware, lo.kind), (1, nix::libc::ARPHRD_LOOPBACK, None));
        assert_eq!(named("nothing").unwrap_err().raw_os_error(), Some(nix::libc::ENODEV));
    }
}
