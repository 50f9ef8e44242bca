//! The kernel's own way to hand over a whole map: an iterator, whose program writes each entry to a file. aya makes only
//! iterators without a target, so the link to the map is made here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use synscope_abi::flow::{Flow, FlowKey};

/// `enum bpf_cmd` and `enum bpf_attach_type` (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;
/// What the kernel collects before it hands it over, bytes: eight pages (`kernel/bpf/bpf_iter.c`).
const BUFFER: usize = 8 * 4096;
const ENTRY: usize = size_of::<FlowKey<4>>() + size_of::<Flow>();

/// `union bpf_attr`, the part for links.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_length: u32,
    padding: u32,
}

/// An iterator over one map.
pub(crate) struct MapIterator {
    link: OwnedFd,
}

impl MapIterator {
    /// `program` must be an iterator over the elements of maps.
    pub(crate) fn new(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> Result<Self> {
        // `union bpf_iter_link_info`, of which the part for maps is this.
        let info = map.as_raw_fd().cast_unsigned();
        let attributes = LinkCreate {
            program: program.as_raw_fd().cast_unsigned(),
            target: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            info: (&raw const info).expose_provenance() as u64,
            info_length: u32::try_from(size_of_val(&info))?,
            padding: 0,
        };
        // SAFETY: the attributes and what they point to outlive the call.
        let link = unsafe { bpf(BPF_LINK_CREATE, &attributes) };
        Ok(Self { link: link.context("an iterator over a map")? })
    }

    /// Reads every entry; how many there were.
    pub(crate) fn read(&self, mut each: impl FnMut(&[u8])) -> Result<usize> {
        let attributes = [self.link.as_raw_fd().cast_unsigned(), 0];
        // SAFETY: two numbers are what the call reads.
        let mut file = File::from(unsafe { bpf(BPF_ITER_CREATE, &attributes) }.context("an iterator's file")?);
        let (mut buffer, mut entries) = (vec![0; BUFFER], 0);
        loop {
            let length = file.read(&mut buffer).context("reading an iterator")?;
            if length == 0 {
                return Ok(entries);
            }
            let whole = buffer.get(..length).unwrap_or_default().chunks_exact(ENTRY);
            ensure!(whole.remainder().is_empty(), "an iterator gave {length} bytes, and its entries have {ENTRY}");
            entries += whole.len();
            whole.for_each(&mut each);
        }
    }
}

/// A call that makes a file descriptor.
///
/// # Safety
///
/// `attributes` must be what the kernel reads for this command.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller promises the attributes; their size goes along.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel just made it, and nobody else has it.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
