//! The system calls: `bpf(2)` and `perf_event_open(2)`, each behind a function that cannot be called wrongly.
#![expect(unsafe_code, reason = "system calls and memory that is shared with the kernel")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
    RawTracepointOpen = 17,
    TypesLoad = 18,
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

fn owned(descriptor: i64) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
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
}

/// Hands over types, as BTF.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let size = u32::try_from(types.len()).map_err(io::Error::other)?;
    let mut attributes = Attributes::new();
    attributes.pointer(0, types.as_ptr()).number(16, size);
    // SAFETY: the types are as long as is said.
    owned(unsafe { bpf(Command::TypesLoad, &mut attributes) }?)
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
    let Program { kind, name, instructions, module, functions } = program;
    let (number, attach, type_id) = match *kind {
        ProgramKind::Tracepoint => (5, 0, 0),
        ProgramKind::PerfEvent => (7, 0, 0),
        ProgramKind::RawTracepoint => (17, 0, 0),
        ProgramKind::TypedTracepoint(id) => (26, TRACE_RAW_TP, id),
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

/// What a perf event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PerfEvent {
    /// Nanoseconds of a CPU's clock: a hit after so many.
    ClockPeriod(u64),
    /// The same: so many hits a second.
    ClockRate(u64),
    /// Hits of a tracepoint.
    Tracepoint(u64),
}

/// Opens a perf event on one CPU and attaches a program to it.
pub(super) fn open_perf_event(event: PerfEvent, cpu: i32, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `struct perf_event_attr` up to `PERF_ATTR_SIZE_VER0`.
    #[repr(C)]
    struct Event {
        kind: u32,
        size: u32,
        config: u64,
        period_or_rate: u64,
        sample: u64,
        read_format: u64,
        flags: u64,
        wake_up: u32,
        breakpoint: u32,
        config1: u64,
    }
    const SOFTWARE: u32 = 1;
    const TRACEPOINT: u32 = 2;
    const CPU_CLOCK: u64 = 0;
    /// The third field is a rate.
    const IS_RATE: u64 = 1 << 10;
    const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
    const SET_BPF: libc::c_ulong = 0x4004_2408;
    const ENABLE: libc::c_ulong = 0x2400;
    let (kind, config, period_or_rate, flags) = match event {
        PerfEvent::ClockPeriod(period) => (SOFTWARE, CPU_CLOCK, period, 0),
        PerfEvent::ClockRate(rate) => (SOFTWARE, CPU_CLOCK, rate, IS_RATE),
        PerfEvent::Tracepoint(id) => (TRACEPOINT, id, 1, 0),
    };
    let size = u32::try_from(size_of::<Event>()).map_err(io::Error::other)?;
    let attributes = Event {
        kind,
        size,
        config,
        period_or_rate,
        sample: 0,
        read_format: 0,
        flags,
        wake_up: 0,
        breakpoint: 0,
        config1: 0,
    };
    let (every_process, no_group) = (-1, -1);
    // SAFETY: the attributes are as long as they say.
    let answer = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, every_process, cpu, no_group, CLOSE_ON_EXEC)
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = owned(answer)?;
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both take a number.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}

/// Memory that a map shares with this process.
#[derive(Debug)]
pub(super) struct Shared {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory belongs to the process; all reads and writes of what the kernel changes are atomic.
unsafe impl Send for Shared {}

impl Shared {
    /// So many bytes from an offset.
    pub(super) fn new(map: BorrowedFd<'_>, writable: bool, offset: usize, length: usize) -> io::Result<Self> {
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses a place where nothing is yet.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// A number that the kernel or this process may change at any time; `at` is a multiple of its size.
    fn atomic<T>(&self, at: usize) -> &T {
        assert!(at.is_multiple_of(align_of::<T>()) && at + size_of::<T>() <= self.length, "outside of the memory");
        // SAFETY: it lies within the memory, as just checked.
        let place = unsafe { self.start.add(at) };
        // SAFETY: it is aligned, and any bytes are a number.
        unsafe { &*place.cast() }
    }

    pub(super) fn word(&self, at: usize) -> &std::sync::atomic::AtomicU64 {
        self.atomic(at)
    }

    pub(super) fn half(&self, at: usize) -> &std::sync::atomic::AtomicU32 {
        self.atomic(at)
    }

    /// Bytes that the kernel does not change any more: it said so by a number that was read before.
    pub(super) fn settled(&self, at: usize, length: usize) -> &[u8] {
        assert!(at.checked_add(length).is_some_and(|end| end <= self.length), "outside of the memory");
        // SAFETY: it lies within the memory, as just checked.
        let place = unsafe { self.start.add(at) };
        // SAFETY: as above; the record belongs to the reader until its position passes it.
        unsafe { std::slice::from_raw_parts(place, length) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody borrows from it any more. A failure leaves it mapped.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
