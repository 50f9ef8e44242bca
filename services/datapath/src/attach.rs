//! Putting the classifiers on interfaces.
//!
//! Interface names belong to the network namespace of the calling thread.

mod clsact;
mod framing;
mod order;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use aya::sys::SyscallError;
use aya::util::KernelVersion;
use clsact::Filter;
pub use framing::{Framing, Unsupported};
use nix::libc::{EINVAL, EOPNOTSUPP};
pub use order::Place;

use crate::kernel::{Kernel, KernelError};
use crate::netlink::links::{self, Link};

/// Direction of packets on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets that come in.
    Ingress,
    /// Packets that go out.
    Egress,
}

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The classifier that belongs there.
    const fn program(self, framing: Framing) -> &'static str {
        match (self, framing) {
            (Self::Ingress, Framing::Ethernet) => "ingress",
            (Self::Egress, Framing::Ethernet) => "egress",
            (Self::Ingress, Framing::Bare) => "ingress_bare",
            (Self::Egress, Framing::Bare) => "egress_bare",
        }
    }

    const fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }
}

/// Why a program is not on an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The program is not there.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The kernel does not tell its version.
    #[error("cannot tell which kernel this is")]
    Version(#[source] io::Error),
    /// The kernel does not tell which programs are there.
    #[error("cannot tell which programs are on {interface}")]
    Order {
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// We cannot read its packets.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The kernel refused.
    #[error("attaching to {interface} failed")]
    Attach {
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: ProgramError,
    },
    /// A filter or a queueing discipline stays.
    #[error("cannot take off what is on {interface}")]
    Detach {
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: ProgramError,
    },
    /// The interfaces cannot be listed.
    #[error("cannot list interfaces")]
    Interfaces(#[source] io::Error),
    /// A pinned link cannot be used.
    #[error("link {path}")]
    Link {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        source: LinkError,
    },
    /// The link cannot be pinned.
    #[error("cannot pin link {path}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        source: PinError,
    },
}

/// A program on an interface. Dropping it takes the program off, unless it was attached to outlive the process.
#[derive(Debug)]
pub struct Attached {
    /// The kernel's id of the program.
    program: u32,
    hold: Hold,
}

/// What keeps a program where it is.
#[derive(Debug)]
enum Hold {
    /// A tcx link that ends with this process.
    Owned(#[expect(dead_code, reason = "dropping it takes the program off")] SchedClassifierLink),
    /// A tcx link that outlives it.
    Pinned(#[expect(dead_code, reason = "open as long as the pin is ours")] PinnedLink),
    /// A filter, where there is no tcx.
    Filter(Filter),
}

impl Attached {
    /// How it was attached.
    pub fn mechanism(&self) -> Mechanism {
        match &self.hold {
            Hold::Owned(_) | Hold::Pinned(_) => Mechanism::Tcx,
            Hold::Filter(filter) => Mechanism::Clsact { why: filter.why.clone() },
        }
    }
}

/// How a program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// By tcx: before all that was there. Who asks to be first later is before us.
    Tcx,
    /// By a clsact filter of priority 1: before those of higher numbers and those of the same that came earlier. Who
    /// comes later with priority 1 is before us.
    Clsact {
        /// Why not by tcx.
        why: String,
    },
}

impl fmt::Display for Mechanism {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcx => write!(to, "tcx"),
            Self::Clsact { .. } => write!(to, "clsact, {}", clsact::PLACE),
        }
    }
}

/// Removes the pin of an interface that is gone; none there is no error.
pub fn forget(interface: &str, hook: Hook, pins: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(pin_path(pins, interface, hook)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn pin_path(pins: &Path, interface: &str, hook: Hook) -> PathBuf {
    // bpffs allows no dots in names, and VLAN interfaces have them.
    let interface = interface.replace('%', "%25").replace('.', "%2e");
    pins.join(format!("link-{interface}-{}", hook.name()))
}

/// Forgets what was noted of an interface that is gone.
pub fn forget_interface(index: u32, pins: &Path) -> io::Result<()> {
    clsact::forget(index, pins)
}

/// What was taken off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Filters.
    pub filters: usize,
    /// Queueing disciplines.
    pub qdiscs: usize,
}

/// Takes off what processes left on the interfaces of this network namespace without a pin: clsact filters, and the
/// queueing disciplines that were made for them, unless others use them by now. Where one refuses, the others are looked
/// after all the same.
pub fn remove(pins: &Path) -> Result<Removed, AttachError> {
    let mut removed = Removed::default();
    let mut done = Ok(());
    for link in links::all().map_err(AttachError::Interfaces)? {
        let taken_off = take_off(&link, pins, &mut removed);
        done = done.and(taken_off.map_err(|source| AttachError::Detach { interface: link.name, source }));
    }
    done.map(|()| removed)
}

fn take_off(link: &Link, pins: &Path, removed: &mut Removed) -> Result<(), ProgramError> {
    for hook in Hook::ALL {
        removed.filters += usize::from(clsact::remove(link, hook)?);
    }
    removed.qdiscs += usize::from(clsact::remove_qdisc(link, pins)?);
    Ok(())
}

/// Attaches first in order by tcx (kernel 6.6), else by a clsact filter. With `pins`, the program outlives the process,
/// and what an earlier process left is adopted: its program is replaced in one step, so that no packet passes unseen.
pub fn first(kernel: &mut Kernel, interface: &Link, hook: Hook, pins: Option<&Path>) -> Result<Attached, AttachError> {
    let name = interface.name.as_str();
    let refused = |source| AttachError::Attach { interface: name.to_owned(), source };
    let version = KernelVersion::current().map_err(|source| AttachError::Version(io::Error::other(source)))?;
    let pin = pins.map(|folder| pin_path(folder, name, hook));
    let program = kernel.classifier(hook.program(Framing::of(interface, version)?))?;
    let id = program.info().map_err(refused)?.id();
    let attached = |hold| Attached { program: id, hold };

    let link = match &pin {
        Some(path) if path.exists() => {
            let wrong = |source| AttachError::Link { path: path.clone(), source };
            let link = FdLink::from(PinnedLink::from_pin(path).map_err(wrong)?).try_into().map_err(wrong)?;
            program.attach_to_link(link).map_err(refused)?
        }
        _ => {
            let order = TcAttachOptions::TcxOrder(LinkOrder::first());
            match program.attach_with_options(name, hook.attach_type(), order) {
                Ok(id) => id,
                Err(error) => {
                    let Some(why) = no_tcx(&error) else { return Err(refused(error)) };
                    let filter = Filter::attach(program, interface, hook, pins, why).map_err(refused)?;
                    return Ok(attached(Hold::Filter(filter)));
                }
            }
        }
    };
    let link = program.take_link(link).map_err(refused)?;
    let Some(path) = pin else {
        return Ok(attached(Hold::Owned(link)));
    };
    if path.exists() {
        // Adopted: the pin holds the link already.
        let link = PinnedLink::from_pin(&path).map_err(|source| AttachError::Link { path, source })?;
        return Ok(attached(Hold::Pinned(link)));
    }
    let link = FdLink::try_from(link).map_err(|source| AttachError::Link { path: path.clone(), source })?;
    let link = link.pin(&path).map_err(|source| AttachError::Pin { path, source })?;
    Ok(attached(Hold::Pinned(link)))
}

/// Why a refusal to attach by tcx means that the kernel has none, if it does.
fn no_tcx(refusal: &ProgramError) -> Option<String> {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = refusal else { return None };
    matches!(io_error.raw_os_error(), Some(EINVAL | EOPNOTSUPP))
        .then(|| format!("no tcx, kernel 6.6 has it: {io_error}"))
}
