//! What a process may do beyond its user. A service gives up at its start what it does not need.
//!
//! Capabilities are a thread's (capabilities(7)), and a new thread has its maker's: this comes before there is a second one.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("privileges cannot be given up")]
pub struct PrivilegesError(#[from] rustix::io::Errno);

/// What a service may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// To listen on ports below 1024.
    LowPorts,
}

impl Privilege {
    const fn capability(self) -> CapabilitySet {
        match self {
            Self::LowPorts => CapabilitySet::NET_BIND_SERVICE,
        }
    }
}

/// Gives up all privileges but these, of which what was not there does not come; and the way to new ones by starting a
/// program that has some.
pub fn keep(privileges: &[Privilege]) -> Result<(), PrivilegesError> {
    set_no_new_privs(true)?;
    let wanted = privileges.iter().fold(CapabilitySet::empty(), |all, one| all | one.capability());
    let kept = capabilities(None)?.permitted & wanted;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    Ok(())
}
