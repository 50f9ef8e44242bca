//! The XDP program: off unless asked for, because some drivers reset the link, and native XDP on veth copies each packet.

use std::collections::BTreeMap;
use std::io;

use aya::maps::{MapError, PerCpuArray};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, include_bytes_aligned};
use nix::libc::{ARPHRD_ETHER, ARPHRD_LOOPBACK};
use synscope_abi::counter::Counter;
use synscope_bus::command::datapath::HookStatus;
use synscope_bus::reasons::reasons;

use crate::netlink::links::Link;

static OBJECT: &[u8] = include_bytes_aligned!(env!("DATAPATH_EBPF_XDP"));

const PROGRAM: &str = "pass";

/// Why the program is not there.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// Loading.
    #[error("the XDP object cannot be loaded")]
    Load(#[from] EbpfError),
    /// The kernel refused the program; it needs 5.18 (`bpf_xdp_load_bytes`).
    #[error("the kernel refused the XDP program, which needs 5.18")]
    Old(#[source] io::Error),
    /// The program would not find its way in the interface's packets.
    #[error("the XDP program reads Ethernet headers, and the packets of {0} have none")]
    NoEthernet(String),
    /// Attaching, into the driver and behind it.
    #[error("the XDP program is refused by the driver ({native}), and behind it")]
    Refused {
        /// What the driver said.
        native: String,
        /// What the kernel said to the attempt behind it.
        source: ProgramError,
    },
    /// Loading or handling.
    #[error("the XDP program")]
    Program(#[from] ProgramError),
    /// Reading.
    #[error("the XDP program's counters")]
    Map(#[from] MapError),
    /// An object of other sources.
    #[error("the object has no {0}")]
    Missing(&'static str),
}

/// One interface's program.
#[derive(Debug)]
struct Attached {
    _link: XdpLink,
    native: bool,
    why: Option<String>,
}

/// The loaded program, and where it is; it comes off when this is dropped.
#[derive(Debug)]
pub struct Passing {
    ebpf: Ebpf,
    interfaces: BTreeMap<String, Result<Attached, String>>,
}

impl Passing {
    /// Loads it.
    pub fn load() -> Result<Self, XdpError> {
        let mut ebpf = Ebpf::load(OBJECT)?;
        program(&mut ebpf)?.load().map_err(|error| match error {
            // Without the verifier's log: it is long, and the helper that is missing is known.
            ProgramError::LoadError { io_error, .. } => XdpError::Old(io_error),
            error => error.into(),
        })?;
        Ok(Self { ebpf, interfaces: BTreeMap::new() })
    }

    /// Puts it on an interface of this thread's network namespace: into the driver, or where the driver can't, behind it.
    pub fn attach(&mut self, interface: &Link) -> Result<(), XdpError> {
        let name = interface.name.as_str();
        if !matches!(interface.hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK) {
            return Err(XdpError::NoEthernet(name.to_owned()));
        }
        let program = program(&mut self.ebpf)?;
        let (id, native, why) = match program.attach(name, XdpMode::Driver) {
            Ok(id) => (id, true, None),
            Err(native) => {
                let native = reasons(&native);
                match program.attach(name, XdpMode::Skb) {
                    Ok(id) => (id, false, Some(format!("the driver refused: {native}"))),
                    Err(source) => return Err(XdpError::Refused { native, source }),
                }
            }
        };
        let attached = Attached { _link: program.take_link(id)?, native, why };
        self.interfaces.insert(name.to_owned(), Ok(attached));
        Ok(())
    }

    /// Keeps it on exactly these interfaces; what fails is said in the status.
    pub fn keep_on<'a>(&mut self, interfaces: impl IntoIterator<Item = &'a Link>) {
        let wanted: BTreeMap<&str, &Link> = interfaces.into_iter().map(|link| (link.name.as_str(), link)).collect();
        self.interfaces.retain(|name, _| wanted.contains_key(name.as_str()));
        for (name, link) in wanted {
            if matches!(self.interfaces.get(name), Some(Ok(_))) {
                continue;
            }
            if let Err(error) = self.attach(link) {
                self.interfaces.insert(name.to_owned(), Err(reasons(&error)));
            }
        }
    }

    /// Forgets an interface that is gone; one that comes back under its name is another one.
    pub fn forget(&mut self, interface: &str) {
        self.interfaces.remove(interface);
    }

    /// The program, to be run without a packet of the wire.
    pub fn program(&self) -> Result<&Xdp, XdpError> {
        let program = self.ebpf.program(PROGRAM).ok_or(XdpError::Missing(PROGRAM))?;
        Ok(program.try_into()?)
    }

    /// Packets that were parsed, and those that were not, by why.
    pub fn counts(&self) -> Result<(u64, BTreeMap<&'static str, u64>), XdpError> {
        let sum = |name: &'static str, index: u32| {
            let map = self.ebpf.map(name).ok_or(XdpError::Missing(name))?;
            Ok::<u64, XdpError>(PerCpuArray::<_, u64>::try_from(map)?.get(&index, 0)?.iter().sum())
        };
        let mut refused = BTreeMap::new();
        for counter in Counter::ALL {
            let packets = sum("XDP_COUNTS", *counter as u32)?;
            if packets > 0 {
                refused.insert(counter.name(), packets);
            }
        }
        Ok((sum("XDP_PARSED", 0)?, refused))
    }

    /// Where it is, and where it is not.
    pub fn status(&self) -> impl Iterator<Item = HookStatus> {
        self.interfaces.iter().map(|(interface, attached)| {
            let (attached, mechanism, why) = match attached {
                Ok(attached) => {
                    (true, if attached.native { "xdp, native" } else { "xdp, generic" }, attached.why.clone())
                }
                Err(why) => (false, "", Some(why.clone())),
            };
            HookStatus {
                interface: interface.clone(),
                hook: "xdp".into(),
                attached,
                mechanism: mechanism.into(),
                why,
                ..HookStatus::default()
            }
        })
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, XdpError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(XdpError::Missing(PROGRAM))?;
    Ok(program.try_into()?)
}
