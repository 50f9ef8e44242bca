//! The system call `bpf(2)`: each command behind a function that cannot be called wrongly.
#![expect(unsafe_code, reason = "a system call that reads and writes what its attributes point to")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::plan::MapPlan;

/// Commands of `bpf(2)` (`enum bpf_cmd`).
#[derive(Debug, Clone, Copy)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgramLoad = 5,
    ProgramRun = 10,
    Info = 15,
    RawTracepointOpen = 17,
    TypesLoad = 18,
    TypesById = 19,
    TypesNextId = 23,
    LinkCreate = 28,
}

/// `union bpf_attr`: each command names the offsets of what it reads (`include/uapi/linux/bpf.h`).
#[repr(C, align(8))]
struct Attributes([u8; 128]);

impl Attributes {
    fn new() -> Self {
        Self([0; 128])
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self
    }

    /// A number that the kernel wrote.
    fn get(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    fn number(&mut self, at: usize, number: u32) -> &mut Self {
        self.bytes(at, &number.to_ne_bytes())
    }

    fn descriptor(&mut self, at: usize, descriptor: BorrowedFd<'_>) -> &mut Self {
        self.bytes(at, &descriptor.as_raw_fd().to_ne_bytes())
    }

    fn pointer<T>(&mut self, at: usize, pointer: *const T) -> &mut Self {
        self.bytes(at, &(pointer.expose_provenance() as u64).to_ne_bytes())
    }

    fn pointer_to_write<T>(&mut self, at: usize, pointer: *mut T) -> &mut Self {
        self.pointer(at, pointer.cast_const())
    }

    /// A name of at most 15 letters.
    fn name(&mut self, at: usize, name: &str) -> &mut Self {
        let letters = name.bytes().filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
        let name: Vec<u8> = letters.take(15).collect();
        self.bytes(at, &name)
    }
}

/// Calls `bpf(2)`.
///
/// # Safety
///
/// What the attributes point to must be as long as the command reads or writes, and live until it returns.
unsafe fn bpf(command: Command, attributes: &mut Attributes) -> io::Result<i64> {
    // SAFETY: the attributes are as long as is said, and the caller vouches for what they point to.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, attributes.0.as_mut_ptr(), attributes.0.len()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

pub(super) fn owned(descriptor: i64) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Lets this process have as much as it may: of locked memory, as which kernels before 5.11 count maps, and of open files,
/// of which each probe is one. Where limits cannot be lifted, what comes to them says so.
pub(super) fn lift_limits() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel reads the limit, and keeps no pointer to it.
    let _refused = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes the limit, and keeps no pointer to it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut files) } == 0 {
        files.rlim_cur = files.rlim_max;
        // SAFETY: as above.
        let _refused = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files) };
    }
}

/// Makes a map.
pub(super) fn create_map(plan: &MapPlan) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::new();
    attributes
        .number(0, plan.kind as u32)
        .number(4, plan.key)
        .number(8, plan.value)
        .number(12, plan.entries)
        .name(28, &plan.name);
    // SAFETY: the command follows no pointers.
    owned(unsafe { bpf(Command::MapCreate, &mut attributes) }?)
}

/// A map of known sizes.
#[derive(Debug)]
pub(super) struct Sized<'m> {
    pub(super) map: BorrowedFd<'m>,
    /// Bytes of a key.
    pub(super) key: usize,
    /// Bytes of a value as user space sees it: for all CPUs, where each has one.
    pub(super) value: usize,
}

impl Sized<'_> {
    /// Copies an entry's value; false if there is no such entry.
    pub(super) fn lookup(&self, key: &[u8], value: &mut Vec<u8>) -> io::Result<bool> {
        assert_eq!(key.len(), self.key, "the key of another map");
        value.resize(self.value, 0);
        let mut attributes = Attributes::new();
        attributes.descriptor(0, self.map).pointer(8, key.as_ptr()).pointer_to_write(16, value.as_mut_ptr());
        // SAFETY: key and value are as long as the map's.
        match unsafe { bpf(Command::MapLookup, &mut attributes) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts a value into an entry.
    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!((key.len(), value.len()), (self.key, self.value), "the entry of another map");
        let mut attributes = Attributes::new();
        attributes.descriptor(0, self.map).pointer(8, key.as_ptr()).pointer(16, value.as_ptr());
        // SAFETY: key and value are as long as the map's.
        unsafe { bpf(Command::MapUpdate, &mut attributes) }.map(drop)
    }

    /// Takes an entry out; one that is not there is no error.
    pub(super) fn delete(&self, key: &[u8]) -> io::Result<()> {
        assert_eq!(key.len(), self.key, "the key of another map");
        let mut attributes = Attributes::new();
        attributes.descriptor(0, self.map).pointer(8, key.as_ptr());
        // SAFETY: the key is as long as the map's.
        match unsafe { bpf(Command::MapDelete, &mut attributes) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// The key behind another one, or the first.
    pub(super) fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key];
        let mut attributes = Attributes::new();
        attributes.descriptor(0, self.map).pointer_to_write(16, next.as_mut_ptr());
        if let Some(key) = key {
            assert_eq!(key.len(), self.key, "the key of another map");
            attributes.pointer(8, key.as_ptr());
        }
        // SAFETY: both keys are as long as the map's.
        match unsafe { bpf(Command::MapNextKey, &mut attributes) } {
            Ok(_) => Ok(Some(next)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a program is for (`enum bpf_prog_type`, `enum bpf_attach_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramKind {
    /// `BPF_PROG_TYPE_TRACEPOINT`.
    Tracepoint,
    /// `BPF_PROG_TYPE_PERF_EVENT`.
    PerfEvent,
    /// `BPF_PROG_TYPE_RAW_TRACEPOINT`.
    RawTracepoint,
    /// `BPF_PROG_TYPE_TRACING` with `BPF_TRACE_RAW_TP`, for the tracepoint of this type.
    TypedTracepoint(u32),
    /// The same with `BPF_TRACE_FENTRY`, for the function of this type.
    Entry(u32),
    /// The same with `BPF_TRACE_FEXIT`.
    Exit(u32),
    /// `BPF_PROG_TYPE_KPROBE`.
    Kprobe,
    /// The same with `BPF_TRACE_KPROBE_MULTI`.
    KprobeMulti,
}

/// Hands over types, as BTF.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let size = u32::try_from(types.len()).map_err(io::Error::other)?;
    let mut attributes = Attributes::new();
    attributes.pointer(0, types.as_ptr()).number(16, size);
    // SAFETY: the types are as long as is said.
    owned(unsafe { bpf(Command::TypesLoad, &mut attributes) }?)
}

/// The types that the kernel has of one of its modules: they must be loaded to be named.
pub(super) fn module_types(module: &str) -> io::Result<OwnedFd> {
    let mut id = 0;
    // Ids only grow; the kernel says when there is no next one.
    loop {
        let mut attributes = Attributes::new();
        attributes.number(0, id);
        // SAFETY: the command follows no pointers.
        unsafe { bpf(Command::TypesNextId, &mut attributes) }?;
        id = attributes.get(4);
        let mut attributes = Attributes::new();
        attributes.number(0, id);
        // SAFETY: the command follows no pointers.
        let types = match unsafe { bpf(Command::TypesById, &mut attributes) } {
            Ok(descriptor) => owned(descriptor)?,
            // The module went meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        if types_name(types.as_fd())? == module.as_bytes() {
            return Ok(types);
        }
    }
}

/// The name of types in the kernel: a module's, or nothing for a program's.
fn types_name(types: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    /// `struct bpf_btf_info`.
    #[repr(C)]
    struct Info {
        types: u64,
        types_size: u32,
        id: u32,
        name: u64,
        name_length: u32,
        of_kernel: u32,
    }
    // As long as a module's name may be (`MODULE_NAME_LEN`).
    let mut name = vec![0_u8; 64];
    let length = u32::try_from(name.len()).map_err(io::Error::other)?;
    let place = name.as_mut_ptr().expose_provenance() as u64;
    let mut info = Info { types: 0, types_size: 0, id: 0, name: place, name_length: length, of_kernel: 0 };
    let size = u32::try_from(size_of::<Info>()).map_err(io::Error::other)?;
    let mut attributes = Attributes::new();
    attributes.descriptor(0, types).number(4, size).pointer_to_write(8, &raw mut info);
    // SAFETY: the info and the name in it are as long as is said.
    unsafe { bpf(Command::Info, &mut attributes) }?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    Ok(if info.of_kernel == 1 { name } else { Vec::new() })
}

/// A program as it is loaded.
#[derive(Debug)]
pub(super) struct Program<'p> {
    pub(super) kind: ProgramKind,
    pub(super) name: &'p str,
    pub(super) instructions: &'p [[u8; 8]],
    /// The types of the module whose tracepoint it is for; without, it is the kernel's own.
    pub(super) module: Option<BorrowedFd<'p>>,
    /// The types of its functions, and which function is of which, where it has several.
    pub(super) functions: Option<(BorrowedFd<'p>, &'p [[u32; 2]])>,
}

/// Loads a program. With a log, the kernel says in it what it did.
pub(super) fn load_program(program: &Program<'_>, log: Option<&mut Vec<u8>>) -> io::Result<OwnedFd> {
    // Without it, the helpers that read the kernel's memory are refused.
    const LICENSE: &std::ffi::CStr = c"GPL";
    const TRACE_RAW_TP: u32 = 23;
    const TRACE_FENTRY: u32 = 24;
    const TRACE_FEXIT: u32 = 25;
    let Program { kind, name, instructions, module, functions } = program;
    let (number, attach, type_id) = match *kind {
        ProgramKind::Tracepoint => (5, 0, 0),
        ProgramKind::PerfEvent => (7, 0, 0),
        ProgramKind::RawTracepoint => (17, 0, 0),
        ProgramKind::TypedTracepoint(id) => (26, TRACE_RAW_TP, id),
        ProgramKind::Entry(id) => (26, TRACE_FENTRY, id),
        ProgramKind::Exit(id) => (26, TRACE_FEXIT, id),
        ProgramKind::Kprobe => (2, 0, 0),
        ProgramKind::KprobeMulti => (2, TRACE_KPROBE_MULTI, 0),
    };
    let count = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    let mut attributes = Attributes::new();
    attributes
        .number(0, number)
        .number(4, count)
        .pointer(8, instructions.as_ptr())
        .pointer(16, LICENSE.as_ptr())
        .name(48, name)
        .number(68, attach)
        .number(108, type_id);
    if let Some(types) = module {
        attributes.descriptor(112, *types);
    }
    if let Some((types, places)) = functions {
        let count = u32::try_from(places.len()).map_err(io::Error::other)?;
        let size = u32::try_from(size_of::<[u32; 2]>()).map_err(io::Error::other)?;
        attributes.descriptor(72, *types).number(76, size).pointer(80, places.as_ptr()).number(88, count);
    }
    if let Some(log) = log {
        let room = u32::try_from(log.len()).map_err(io::Error::other)?;
        attributes.number(24, 1).number(28, room).pointer_to_write(32, log.as_mut_ptr());
    }
    // SAFETY: instructions, places, license and log are as long as is said.
    owned(unsafe { bpf(Command::ProgramLoad, &mut attributes) }?)
}

/// How often a program was not run because one ran on that CPU already, as far as the kernel counts it.
pub(super) fn missed(program: BorrowedFd<'_>) -> io::Result<u64> {
    /// `recursion_misses` in `struct bpf_prog_info`, since Linux 5.12; before, the kernel leaves it as it is.
    const AT: usize = 208;
    let mut info = [0_u8; AT + 8];
    let size = u32::try_from(info.len()).map_err(io::Error::other)?;
    let mut attributes = Attributes::new();
    attributes.descriptor(0, program).number(4, size).pointer_to_write(8, info.as_mut_ptr());
    // SAFETY: the info is as long as is said, and zeros in it ask for no lists.
    unsafe { bpf(Command::Info, &mut attributes) }?;
    Ok(info.last_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

/// `BPF_TRACE_KPROBE_MULTI`.
const TRACE_KPROBE_MULTI: u32 = 42;

/// Attaches a program to many functions at once, where they are called or where they return.
pub(super) fn link_functions(names: &[String], exit: bool, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `BPF_F_KPROBE_MULTI_RETURN`.
    const RETURN: u32 = 1;
    let names: Vec<CString> =
        names.iter().map(|name| CString::new(name.as_str())).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let pointers: Vec<*const libc::c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let count = u32::try_from(pointers.len()).map_err(io::Error::other)?;
    let mut attributes = Attributes::new();
    attributes
        .descriptor(0, program)
        .number(8, TRACE_KPROBE_MULTI)
        .number(16, if exit { RETURN } else { 0 })
        .number(20, count)
        .pointer(24, pointers.as_ptr());
    // SAFETY: there are as many pointers as is said, each to a name that ends with a zero.
    owned(unsafe { bpf(Command::LinkCreate, &mut attributes) }?)
}

/// Attaches a program to a raw tracepoint; one with a type knows its own.
pub(super) fn open_raw_tracepoint(name: Option<&str>, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let name = name.map(CString::new).transpose().map_err(io::Error::other)?;
    let mut attributes = Attributes::new();
    attributes.descriptor(8, program);
    if let Some(name) = &name {
        attributes.pointer(0, name.as_ptr());
    }
    // SAFETY: the name ends with a zero.
    owned(unsafe { bpf(Command::RawTracepointOpen, &mut attributes) }?)
}

/// Runs a raw tracepoint's program once, here and now.
pub(super) fn run_program(program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Attributes::new();
    attributes.descriptor(0, program);
    // SAFETY: the command follows no pointers where none are given.
    unsafe { bpf(Command::ProgramRun, &mut attributes) }.map(drop)
}
