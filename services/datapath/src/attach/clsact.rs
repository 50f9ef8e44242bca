//! Attaching by a filter of the clsact queueing discipline, for kernels without tcx (before 6.6).

use std::fs::File;
use std::{io, mem, thread};

use aya::programs::links::Link;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact};
use aya::programs::{ProgramError, SchedClassifier};
use nix::libc::{EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP};
use nix::sched::{CloneFlags, setns};

use super::Hook;

/// Filters run in the order of their priorities: the lowest there is.
const PRIORITY: u16 = 1;
/// Ours among filters of the same priority ("sy"). Cilium's has number 1, which must never be taken from it.
const HANDLE: TcHandle = TcHandle::new(0, 0x7379);
/// The two in words.
pub(super) const PLACE: &str = "priority 1, handle 0x7379";

/// A filter of ours on an interface. Dropping it takes it off, unless it is to outlive the process.
#[derive(Debug)]
pub struct Filter {
    /// None when the filter outlives us.
    link: Option<SchedClassifierLink>,
    /// Where its interface is: the thread that drops it may be elsewhere.
    netns: File,
    /// Why it is not tcx.
    pub(super) why: String,
}

impl Filter {
    /// Attaches. A filter that an earlier process left is replaced in one step, so that no packet passes unseen.
    pub(super) fn attach(
        program: &mut SchedClassifier,
        interface: &str,
        hook: Hook,
        outlives: bool,
        why: String,
    ) -> Result<Self, ProgramError> {
        let netns = File::open("/proc/thread-self/ns/net")?;
        match qdisc_add_clsact(interface) {
            Err(error) if errno(&error) != Some(EEXIST) => return Err(error.into()),
            _ => {}
        }
        let id = match program.attach_to_link(left(interface, hook)?) {
            Err(ProgramError::TcError(error)) if errno(&error) == Some(ENOENT) => {
                let new = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
                program.attach_with_options(interface, hook.attach_type(), TcAttachOptions::Netlink(new))?
            }
            replaced => replaced?,
        };
        let link = program.take_link(id)?;
        if outlives {
            // It stays when nobody takes it off.
            mem::forget(link);
            return Ok(Self { link: None, netns, why });
        }
        Ok(Self { link: Some(link), netns, why })
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        thread::scope(|scope| {
            let taking_off = scope.spawn(|| match setns(&self.netns, CloneFlags::CLONE_NEWNET) {
                Ok(()) => drop(link),
                // Elsewhere the same number may be another interface.
                Err(_) => mem::forget(link),
            });
            // Nothing in it panics, and a destructor has nobody to tell.
            drop(taking_off.join());
        });
    }
}

/// Takes off the filter that a process left on an interface; tells whether there was one.
pub(super) fn remove(interface: &str, hook: Hook) -> Result<bool, ProgramError> {
    // An interface that is gone took its filters along.
    let Ok(link) = left(interface, hook) else { return Ok(false) };
    match link.detach() {
        Ok(()) => Ok(true),
        // No filter of ours, no clsact at all, or another queueing discipline in its place.
        Err(ProgramError::NetlinkError(error))
            if matches!(error.raw_os_error(), Some(ENOENT | EINVAL | EOPNOTSUPP | ENODEV)) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn left(interface: &str, hook: Hook) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, hook.attach_type(), PRIORITY, HANDLE, None)
}

fn errno(error: &TcError) -> Option<i32> {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error(),
        TcError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}
