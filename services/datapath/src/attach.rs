//! Putting the classifiers on interfaces.
//!
//! Interface names belong to the network namespace of the calling thread.

use std::path::{Path, PathBuf};

use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, TcAttachType};

use crate::kernel::{Kernel, KernelError};

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

    /// The classifier that belongs there, which is also the hook's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
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
    /// The kernel refused.
    #[error("attaching to {interface} failed")]
    Attach {
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: ProgramError,
    },
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

/// A link kept by this process: dropping it takes the program off the interface, unless the link is pinned.
#[derive(Debug)]
pub enum Attached {
    /// Ends with this process.
    Owned(SchedClassifierLink),
    /// Outlives it.
    Pinned(PinnedLink),
}

/// Removes the pin of an interface that is gone; none there is no error.
pub fn forget(interface: &str, hook: Hook, pins: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(pin_path(pins, interface, hook)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn pin_path(pins: &Path, interface: &str, hook: Hook) -> PathBuf {
    pins.join(format!("link-{interface}-{}", hook.program()))
}

/// Attaches first in order by tcx (kernel 6.6). With `pins`, a link pinned there by an earlier process is adopted: its
/// program is replaced in one step, so that no packet passes unseen.
pub fn first(kernel: &mut Kernel, interface: &str, hook: Hook, pins: Option<&Path>) -> Result<Attached, AttachError> {
    let refused = |source| AttachError::Attach { interface: interface.to_owned(), source };
    let pin = pins.map(|folder| pin_path(folder, interface, hook));
    let program = kernel.classifier(hook.program())?;

    let id = match &pin {
        Some(path) if path.exists() => {
            let wrong = |source| AttachError::Link { path: path.clone(), source };
            let link = FdLink::from(PinnedLink::from_pin(path).map_err(wrong)?).try_into().map_err(wrong)?;
            program.attach_to_link(link).map_err(refused)?
        }
        _ => {
            let order = TcAttachOptions::TcxOrder(LinkOrder::first());
            program.attach_with_options(interface, hook.attach_type(), order).map_err(refused)?
        }
    };
    let link = program.take_link(id).map_err(refused)?;
    let Some(path) = pin else {
        return Ok(Attached::Owned(link));
    };
    if path.exists() {
        // Adopted: the pin holds the link already.
        return PinnedLink::from_pin(&path).map(Attached::Pinned).map_err(|source| AttachError::Link { path, source });
    }
    let link = FdLink::try_from(link).map_err(|source| AttachError::Link { path: path.clone(), source })?;
    link.pin(&path).map(Attached::Pinned).map_err(|source| AttachError::Pin { path, source })
}
