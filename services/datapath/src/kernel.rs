//! The loaded kernel programs and their maps.

mod walk;

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, MapError, MapInfo, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, SchedClassifier, TestRun};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use synscope_abi::counter::Counter;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::{
    CURRENT, Clocks, EXEMPT_PORTS, MODE_ENFORCE, MODE_OBSERVE, ON_FULL_DROP, ON_FULL_PASS, RETIRING, Settings,
};
use synscope_abi::timeout::Timeouts;
use synscope_abi::{ABI_VERSION, CONNTRACK_ENTRIES_MAX};

use crate::pins::{self, PinError};

static OBJECT: &[u8] = include_bytes_aligned!(env!("DATAPATH_EBPF_OBJECT"));

const BPF_F_NO_PREALLOC: u32 = 1;
const CLASSIFIERS: [&str; 4] = ["ingress", "egress", "ingress_bare", "egress_bare"];
/// Passes over the old table in a resize; one is enough unless packets still put entries into it.
const RESIZE_PASSES: u32 = 8;

/// A conntrack table as user space sees it.
pub type Table<const N: usize> = HashMap<MapData, FlowKey<N>, Flow>;

/// What can go wrong with the kernel programs.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The object could not be loaded.
    #[error("loading the kernel programs failed")]
    Load(#[from] EbpfError),
    /// A program was refused or could not be run.
    #[error("kernel program {name}")]
    Program {
        /// Name of the program.
        name: &'static str,
        /// What the kernel said.
        source: ProgramError,
    },
    /// A map could not be read or written.
    #[error("map {name}")]
    Map {
        /// Name of the map.
        name: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A table could not be read as a whole.
    #[error("reading {name}")]
    Read {
        /// Name of the map.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object lacks a program or map of this name.
    #[error("the kernel object has no {0}: it was built from other sources")]
    Missing(&'static str),
    /// A run of a program ended with an error of its own.
    #[error("kernel program {name} answered errno {errno}")]
    Answer {
        /// Name of the program.
        name: &'static str,
        /// Positive errno.
        errno: i32,
    },
    /// The kernel's jiffy has none of the lengths it can be built with.
    #[error("cannot tell how long a jiffy is: {0:.1} per second measured")]
    Jiffy(f64),
    /// A capacity no table can have.
    #[error("{name} cannot have {entries} entries: 1 to {CONNTRACK_ENTRIES_MAX} are possible")]
    Capacity {
        /// Name of the map.
        name: &'static str,
        /// Entries asked for.
        entries: u32,
    },
    /// A capacity that the memory does not allow.
    #[error(
        "{name} with {entries} entries does not fit into the memory that the kernel, or the service's cgroup, has left: ask for fewer, or raise the limit"
    )]
    Memory {
        /// Name of the map.
        name: &'static str,
        /// Entries asked for.
        entries: u32,
    },
    /// A new capacity below what the table holds.
    #[error("{name} holds {live} entries, so it cannot be resized to {entries}")]
    TooSmall {
        /// Name of the map.
        name: &'static str,
        /// Entries asked for.
        entries: u32,
        /// Entries in the table.
        live: usize,
    },
    /// Pinned state cannot be adopted.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// What a full table does to a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never change a packet's fate.
    #[default]
    Observe,
    /// A full table drops the SYN, unless it goes to one of these ports (host byte order).
    EnforceDrop {
        /// Ports never refused.
        exempt_ports: [u16; EXEMPT_PORTS],
    },
}

/// What a resize did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// Entries that were in the old table and are not any more.
    pub moved: usize,
    /// Entries that did not move; they are still found, and the next resize or their own next packet moves them.
    pub left: usize,
    /// How long it took.
    pub took: Duration,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Entries, as the kernel programs count them.
    pub live: u64,
    /// Entries at most.
    pub max: u64,
    /// The kernel's id of the map.
    pub id: u32,
}

/// How to load.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Folder on bpffs for maps that outlive this process; none = they end with it.
    pub pins: Option<&'a Path>,
    /// Capacity of a table made anew, entries. An adopted table keeps its own.
    pub entries: u32,
    /// Observe or enforce.
    pub mode: Mode,
    /// Time-outs in seconds.
    pub timeouts: Timeouts,
    /// About how often a connection in use gives a heartbeat; zero for never.
    pub heartbeat: Duration,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            pins: None,
            entries: synscope_abi::CONNTRACK_ENTRIES_DEFAULT,
            mode: Mode::default(),
            timeouts: Timeouts::SECONDS,
            heartbeat: Duration::from_mins(1),
        }
    }
}

/// The loaded programs. Dropping it unloads what is not pinned.
#[derive(Debug)]
pub struct Kernel {
    ebpf: Ebpf,
    /// Whether the kernel goes through whole tables by itself.
    walks_inside: bool,
    degradations: Vec<String>,
}

impl Kernel {
    /// Loads all programs, adopting pinned maps where there are any.
    pub fn load(options: &Options<'_>) -> Result<Self, KernelError> {
        let mut loader = EbpfLoader::new();
        if let Some(folder) = options.pins {
            for (name, path) in pins::prepare(folder)? {
                loader.map_pin_path(name, path);
            }
        }
        let mut kernel = Self { ebpf: loader.load(OBJECT)?, walks_inside: true, degradations: Vec::new() };
        for name in CLASSIFIERS {
            kernel.classifier(name)?.load().map_err(|source| KernelError::Program { name, source })?;
        }
        kernel.load_walks()?;
        let name = "clocks";
        kernel.raw(name)?.load().map_err(|source| KernelError::Program { name, source })?;
        kernel.keep_or_make_table::<4>("FLOWS_V4", options.entries)?;
        kernel.keep_or_make_table::<16>("FLOWS_V6", options.entries)?;
        kernel.configure(options)?;
        Ok(kernel)
    }

    /// What this kernel cannot do for us, and what that costs; empty on a kernel that can do all.
    pub fn degradations(&self) -> &[String] {
        &self.degradations
    }

    /// Writes the settings; they hold from the next packet on.
    pub fn configure(&mut self, options: &Options<'_>) -> Result<(), KernelError> {
        let (mode, on_full, exempt_ports) = match options.mode {
            Mode::Observe => (MODE_OBSERVE, ON_FULL_PASS, [0; EXEMPT_PORTS]),
            Mode::EnforceDrop { exempt_ports } => (MODE_ENFORCE, ON_FULL_DROP, exempt_ports),
        };
        let hz = self.jiffies_per_second()?;
        let timeouts = options.timeouts.times(hz);
        let heartbeat_shift = heartbeat_shift(options.heartbeat, hz);
        let settings = Settings { abi_version: ABI_VERSION, mode, on_full, heartbeat_shift, exempt_ports, timeouts };
        let name = "SETTINGS";
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        let wrong = |source| KernelError::Map { name, source };
        Array::<_, Settings>::try_from(map).map_err(wrong)?.set(0, settings, 0).map_err(wrong)
    }

    /// The classifier of this name.
    pub fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, KernelError> {
        let program = self.ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
        program.try_into().map_err(|source| KernelError::Program { name, source })
    }

    /// The IPv4 table in use.
    pub fn table_v4(&self) -> Result<Table<4>, KernelError> {
        self.table("FLOWS_V4")
    }

    /// The IPv6 table in use.
    pub fn table_v6(&self) -> Result<Table<16>, KernelError> {
        self.table("FLOWS_V6")
    }

    /// Gives the IPv4 table another capacity while traffic flows: no connection is forgotten, no packet held up.
    pub fn resize_v4(&mut self, entries: u32) -> Result<Resized, KernelError> {
        self.resize::<4>("FLOWS_V4", entries)
    }

    /// The same for the IPv6 table.
    pub fn resize_v6(&mut self, entries: u32) -> Result<Resized, KernelError> {
        self.resize::<16>("FLOWS_V6", entries)
    }

    /// Takes expired entries out of both tables; tells how long that took. Only the kernel takes out, and only what it
    /// finds expired; before 5.13 it must be told key by key where to look.
    pub fn sweep(&self) -> Result<Duration, KernelError> {
        let start = Instant::now();
        self.sweep_tables()?;
        Ok(start.elapsed())
    }

    /// Sum over all CPUs of a counter.
    pub fn counter(&self, counter: Counter) -> Result<u64, KernelError> {
        let name = "COUNTS";
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        let counts = PerCpuArray::<_, u64>::try_from(map).map_err(wrong)?;
        Ok(counts.get(&(counter as u32), 0).map_err(wrong)?.iter().sum())
    }

    /// How full the IPv4 and the IPv6 table are.
    pub fn fill(&self) -> Result<[Fill; 2], KernelError> {
        let [inserted, expired] = [self.counter(Counter::Inserted)?, self.counter(Counter::Expired)?];
        let [inserted_v6, expired_v6] = [self.counter(Counter::InsertedV6)?, self.counter(Counter::ExpiredV6)?];
        // The counters are read one after the other while packets pass, so a difference may be off by those.
        let live_v6 = inserted_v6.saturating_sub(expired_v6);
        let live_v4 = inserted.saturating_sub(expired).saturating_sub(live_v6);
        Ok([self.fill_of("FLOWS_V4", live_v4)?, self.fill_of("FLOWS_V6", live_v6)?])
    }

    /// Takes the event ring; there is one, so a second call finds it missing.
    pub fn take_events(&mut self) -> Result<RingBuf<MapData>, KernelError> {
        let name = "EVENTS";
        let map = self.ebpf.take_map(name).ok_or(KernelError::Missing(name))?;
        RingBuf::try_from(map).map_err(|source| KernelError::Map { name, source })
    }

    /// How many jiffies make a second: `CONFIG_HZ`, which the kernel tells nowhere, measured over 100 ms, and over
    /// longer where a busy machine's ticks come late.
    fn jiffies_per_second(&self) -> Result<u64, KernelError> {
        let first = self.clocks()?;
        let mut measured = 0.0;
        for window in [100, 200, 400, 800].map(Duration::from_millis) {
            thread::sleep(window);
            let now = self.clocks()?;
            let elapsed = Duration::from_nanos(now.monotonic_ns.saturating_sub(first.monotonic_ns)).as_secs_f64();
            let jiffies = u32::try_from(now.jiffies.saturating_sub(first.jiffies)).unwrap_or(u32::MAX);
            measured = f64::from(jiffies) / elapsed;
            // The choices of kernel/Kconfig.hz.
            let near = |hz: &u32| (f64::from(*hz) - measured).abs() < f64::from(*hz) * 0.1 + 1.0;
            if let Some(hz) = [100_u32, 250, 300, 1000].into_iter().find(near) {
                return Ok(hz.into());
            }
        }
        Err(KernelError::Jiffy(measured))
    }

    fn clocks(&self) -> Result<Clocks, KernelError> {
        self.run("clocks")?;
        let name = "CLOCKS";
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        Array::<_, Clocks>::try_from(map).map_err(wrong)?.get(&0, 0).map_err(wrong)
    }

    fn raw(&mut self, name: &'static str) -> Result<&mut RawTracePoint, KernelError> {
        let program = self.ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
        program.try_into().map_err(|source| KernelError::Program { name, source })
    }

    fn run(&self, name: &'static str) -> Result<(), KernelError> {
        let program = self.ebpf.program(name).ok_or(KernelError::Missing(name))?;
        let program: &RawTracePoint = program.try_into().map_err(|source| KernelError::Program { name, source })?;
        let run = program.test_run(RawTracePointRunOptions::new());
        let answer = run.map_err(|source| KernelError::Program { name, source })?.return_value.cast_signed();
        if answer < 0 { Err(KernelError::Answer { name, errno: -answer }) } else { Ok(()) }
    }

    fn table<const N: usize>(&self, name: &'static str) -> Result<Table<N>, KernelError>
    where
        FlowKey<N>: aya::Pod,
    {
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        ArrayOfMaps::<_, Table<N>>::try_from(map).map_err(wrong)?.get(&CURRENT, 0).map_err(wrong)
    }

    /// What the kernel tells of the table in use.
    fn table_info(&self, name: &'static str) -> Result<MapInfo, KernelError> {
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        let table: MapData = ArrayOfMaps::try_from(map).map_err(wrong)?.get(&CURRENT, 0).map_err(wrong)?;
        table.info().map_err(wrong)
    }

    fn fill_of(&self, name: &'static str, live: u64) -> Result<Fill, KernelError> {
        let info = self.table_info(name)?;
        Ok(Fill { live, max: info.max_entries().into(), id: info.id() })
    }

    /// The new table takes the place of the old; entries move with their own next packet or in the passes here,
    /// whichever comes first; then an empty table takes the old one's place.
    fn resize<const N: usize>(&mut self, name: &'static str, entries: u32) -> Result<Resized, KernelError>
    where
        FlowKey<N>: aya::Pod,
    {
        let start = Instant::now();
        let old = self.table::<N>(name)?;
        let mut before = 0;
        self.each::<N>(name, |_, _| before += 1)?;
        if usize::try_from(entries).is_ok_and(|room| room < before) {
            return Err(KernelError::TooSmall { name, entries, live: before });
        }
        let new = make_table::<N>(name, entries)?;
        self.put_table(name, RETIRING, &old)?;
        self.put_table(name, CURRENT, &new)?;
        // What a packet on another CPU still put into the old table after a pass is found by the next one: setting a
        // slot waits for programs that hold the table it held (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
        let mut left = old.keys().count();
        for _pass in 0..RESIZE_PASSES {
            if left == 0 {
                break;
            }
            self.move_entries(&old)?;
            left = old.keys().count();
        }
        if left == 0 {
            self.put_table(name, RETIRING, &make_table::<N>(name, 1)?)?;
        }
        Ok(Resized { moved: before.saturating_sub(left), left, took: start.elapsed() })
    }

    fn keep_or_make_table<const N: usize>(&mut self, name: &'static str, entries: u32) -> Result<(), KernelError>
    where
        FlowKey<N>: aya::Pod,
    {
        match self.table::<N>(name) {
            Ok(_adopted) => Ok(()),
            Err(KernelError::Map { source: MapError::KeyNotFound, .. }) => {
                self.put_table(name, CURRENT, &make_table::<N>(name, entries)?)?;
                self.put_table(name, RETIRING, &make_table::<N>(name, 1)?)
            }
            Err(error) => Err(error),
        }
    }

    fn put_table<const N: usize>(&mut self, name: &'static str, slot: u32, table: &Table<N>) -> Result<(), KernelError>
    where
        FlowKey<N>: aya::Pod,
    {
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        ArrayOfMaps::<_, Table<N>>::try_from(map).map_err(wrong)?.set(slot, table, 0).map_err(wrong)
    }
}

/// The power of two nearest below the interval in jiffies; 0 for none.
fn heartbeat_shift(interval: Duration, hz: u64) -> u32 {
    let jiffies = interval.as_millis() * u128::from(hz) / 1000;
    jiffies.checked_ilog2().map_or(0, |shift| shift.clamp(1, 63))
}

fn make_table<const N: usize>(name: &'static str, entries: u32) -> Result<Table<N>, KernelError>
where
    FlowKey<N>: aya::Pod,
{
    if !(1..=CONNTRACK_ENTRIES_MAX).contains(&entries) {
        return Err(KernelError::Capacity { name, entries });
    }
    Table::<N>::create(entries, BPF_F_NO_PREALLOC).map_err(|source| match source {
        MapError::CreateError { ref io_error, .. } if io_error.raw_os_error() == Some(libc::ENOMEM) => {
            KernelError::Memory { name, entries }
        }
        source => KernelError::Map { name, source },
    })
}
