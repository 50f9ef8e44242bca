//! Attaching by a filter of the clsact queueing discipline, for kernels without tcx (before 6.6).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{io, mem, thread};

use aya::programs::links::Link as _;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact};
use aya::programs::{ProgramError, SchedClassifier};
use nix::libc::{EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP};
use nix::sched::{CloneFlags, setns};

use super::Hook;
use crate::netlink::filters;
use crate::netlink::links::Link;

/// Filters run in the order of their priorities: the lowest there is.
const PRIORITY: u16 = 1;
/// Ours among filters of the same priority ("sy"). Cilium's has number 1, which must never be taken from it.
const HANDLE: TcHandle = TcHandle::new(0, 0x7379);
/// The two in words.
pub(super) const PLACE: &str = "priority 1, handle 0x7379";

/// A filter of ours on an interface. Dropping it takes it off, unless it is to outlive the process.
#[derive(Debug)]
pub(super) struct Filter {
    /// None when the filter outlives us.
    link: Option<SchedClassifierLink>,
    /// Where its interface is: the thread that drops it may be elsewhere.
    netns: File,
    /// Why it is not tcx.
    pub(super) why: String,
}

impl Filter {
    /// Attaches. A filter that an earlier process left is replaced in one step, so that no packet passes unseen. With
    /// `pins`, it outlives the process.
    pub(super) fn attach(
        program: &mut SchedClassifier,
        interface: &Link,
        hook: Hook,
        pins: Option<&Path>,
        why: String,
    ) -> Result<Self, ProgramError> {
        let netns = File::open("/proc/thread-self/ns/net")?;
        make_qdisc(interface, pins)?;
        let interface = interface.name.as_str();
        let id = match program.attach_to_link(left(interface, hook)?) {
            Err(ProgramError::TcError(error)) if errno(&error) == Some(ENOENT) => {
                let new = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
                program.attach_with_options(interface, hook.attach_type(), TcAttachOptions::Netlink(new))?
            }
            replaced => replaced?,
        };
        let link = program.take_link(id)?;
        if pins.is_some() {
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

/// Makes the queueing discipline where there is none, and notes that it is ours.
fn make_qdisc(interface: &Link, pins: Option<&Path>) -> Result<(), ProgramError> {
    // Noted before it is made, so that a death in between leaves none that nobody removes.
    let noted = pins.map(|pins| note(pins, interface.index)).transpose()?.flatten();
    let Err(error) = qdisc_add_clsact(&interface.name) else { return Ok(()) };
    // It is somebody else's, or ours from before, which was noted then.
    if let Some(note) = noted {
        fs::remove_dir(note)?;
    }
    if errno(&error) == Some(EEXIST) { Ok(()) } else { Err(error.into()) }
}

/// Notes that an interface's queueing discipline is ours: a folder, for bpffs has no files. None when it was noted.
fn note(pins: &Path, index: u32) -> io::Result<Option<PathBuf>> {
    let note = note_path(pins, index);
    match fs::create_dir(&note) {
        Ok(()) => Ok(Some(note)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// By number: a name may come back as another interface.
fn note_path(pins: &Path, index: u32) -> PathBuf {
    pins.join(format!("clsact-{index}"))
}

/// Forgets what was noted of an interface that is gone; nothing there is no error.
pub(super) fn forget(index: u32, pins: &Path) -> io::Result<()> {
    match fs::remove_dir(note_path(pins, index)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes off the filter that a process left on an interface; tells whether there was one.
pub(super) fn remove(interface: &Link, hook: Hook) -> Result<bool, ProgramError> {
    // An interface that is gone took its filters along.
    let Ok(link) = left(&interface.name, hook) else { return Ok(false) };
    match link.detach() {
        Ok(()) => Ok(true),
        Err(ProgramError::NetlinkError(error)) if is_nothing(error.raw_os_error()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes an interface's queueing discipline if we made it and nobody uses it; tells whether it did.
pub(super) fn remove_qdisc(interface: &Link, pins: &Path) -> io::Result<bool> {
    if !note_path(pins, interface.index).exists() || filters::any(interface.index)? {
        return Ok(false);
    }
    match filters::remove_clsact(interface.index) {
        Ok(()) => Ok(true),
        Err(error) if is_nothing(error.raw_os_error()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// No filter of ours, no clsact at all, or another queueing discipline in its place.
const fn is_nothing(errno: Option<i32>) -> bool {
    matches!(errno, Some(ENOENT | EINVAL | EOPNOTSUPP | ENODEV))
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
