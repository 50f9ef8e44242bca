//! The loaded kernel programs and their maps.

mod counts;
mod error;
mod memory;
mod resize;
mod walk;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, MapInfo, RingBuf};
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, SchedClassifier, TestRun};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use serde::{Deserialize, Serialize};
use synscope_abi::ABI_VERSION;
use synscope_abi::counter::Counter;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::{
    CURRENT, Clocks, EXEMPT_PORTS, MODE_ENFORCE, MODE_OBSERVE, ON_FULL_DROP, ON_FULL_PASS, Settings,
};
use synscope_abi::timeout::Timeouts;

use crate::pins;

pub use counts::Counts;
pub use error::KernelError;
pub use resize::Resized;

static OBJECT: &[u8] = include_bytes_aligned!(env!("DATAPATH_EBPF_OBJECT"));

const FLOWS_V4: &str = "FLOWS_V4";
const FLOWS_V6: &str = "FLOWS_V6";
/// Almost every device needs these, so a kernel that refuses them is told of at the start; those for devices without
/// Ethernet header are loaded with the first such device.
const CLASSIFIERS: [&str; 2] = ["ingress", "egress"];

/// A conntrack table as user space sees it.
pub type Table<const N: usize> = HashMap<MapData, FlowKey<N>, Flow>;

/// What the programs may do to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never change a packet's fate.
    #[default]
    Observe,
    /// A full table may refuse new connections.
    Enforce {
        /// What it does to them.
        on_full: OnFull,
        /// Ports never refused, host byte order.
        exempt_ports: [u16; EXEMPT_PORTS],
    },
}

/// What a full table does to a new connection, unless its port is exempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Drops its SYN.
    #[default]
    Drop,
    /// Lets it pass untracked.
    Pass,
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
    counts: Counts,
    /// Whether the kernel goes through whole tables by itself.
    walks_inside: bool,
    degradations: Vec<String>,
}

impl Kernel {
    /// Loads the programs, adopting pinned maps where there are any.
    pub fn load(options: &Options<'_>) -> Result<Self, KernelError> {
        let mut loader = EbpfLoader::new();
        if let Some(folder) = options.pins {
            for (name, path) in pins::prepare(folder)? {
                loader.map_pin_path(name, path);
            }
        }
        let ebpf = loader.load(OBJECT)?;
        let counts = Counts::open(&ebpf)?;
        let mut kernel = Self { ebpf, counts, walks_inside: true, degradations: Vec::new() };
        for name in CLASSIFIERS {
            kernel.classifier(name)?;
        }
        kernel.load_walks()?;
        let name = "clocks";
        kernel.raw(name)?.load().map_err(|source| KernelError::Program { name, source })?;
        kernel.adopt_or_make::<4>(FLOWS_V4, options.entries)?;
        kernel.adopt_or_make::<16>(FLOWS_V6, options.entries)?;
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
            Mode::Enforce { on_full: OnFull::Drop, exempt_ports } => (MODE_ENFORCE, ON_FULL_DROP, exempt_ports),
            Mode::Enforce { on_full: OnFull::Pass, exempt_ports } => (MODE_ENFORCE, ON_FULL_PASS, exempt_ports),
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

    /// The classifier of this name, loaded.
    pub fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, KernelError> {
        let wrong = |source| KernelError::Program { name, source };
        let program = self.ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
        let program: &mut SchedClassifier = program.try_into().map_err(wrong)?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(wrong(error)),
        }
    }

    /// The IPv4 table in use.
    pub fn table_v4(&self) -> Result<Table<4>, KernelError> {
        self.table(FLOWS_V4, CURRENT)
    }

    /// The IPv6 table in use.
    pub fn table_v6(&self) -> Result<Table<16>, KernelError> {
        self.table(FLOWS_V6, CURRENT)
    }

    /// Takes expired entries out of all tables, and goes on with moving what a resize has left; tells how long that
    /// took. Only the kernel takes out, and only what it finds expired; before 5.13 it must be told key by key where to
    /// look.
    pub fn sweep(&mut self) -> Result<Duration, KernelError> {
        let start = Instant::now();
        self.sweep_tables()?;
        self.retire::<4>(FLOWS_V4)?;
        self.retire::<16>(FLOWS_V6)?;
        Ok(start.elapsed())
    }

    /// Sum over all CPUs of a counter.
    pub fn counter(&self, counter: Counter) -> Result<u64, KernelError> {
        self.counts.get(counter)
    }

    /// Another handle on the counters, for another thread.
    pub fn counts(&self) -> Result<Counts, KernelError> {
        Counts::open(&self.ebpf)
    }

    /// How full the IPv4 and the IPv6 table are.
    pub fn fill(&self) -> Result<[Fill; 2], KernelError> {
        let [inserted, expired] = [self.counter(Counter::Inserted)?, self.counter(Counter::Expired)?];
        let [inserted_v6, expired_v6] = [self.counter(Counter::InsertedV6)?, self.counter(Counter::ExpiredV6)?];
        // The counters are read one after the other while packets pass, so a difference may be off by those.
        let live_v6 = inserted_v6.saturating_sub(expired_v6);
        let live_v4 = inserted.saturating_sub(expired).saturating_sub(live_v6);
        Ok([self.fill_of(FLOWS_V4, live_v4)?, self.fill_of(FLOWS_V6, live_v6)?])
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

    fn table<const N: usize>(&self, name: &'static str, slot: u32) -> Result<Table<N>, KernelError>
    where
        FlowKey<N>: aya::Pod,
    {
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        ArrayOfMaps::<_, Table<N>>::try_from(map).map_err(wrong)?.get(&slot, 0).map_err(wrong)
    }

    /// What the kernel tells of the table in this slot.
    fn table_info(&self, name: &'static str, slot: u32) -> Result<MapInfo, KernelError> {
        let wrong = |source| KernelError::Map { name, source };
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        let table: MapData = ArrayOfMaps::try_from(map).map_err(wrong)?.get(&slot, 0).map_err(wrong)?;
        table.info().map_err(wrong)
    }

    fn fill_of(&self, name: &'static str, live: u64) -> Result<Fill, KernelError> {
        let info = self.table_info(name, CURRENT)?;
        Ok(Fill { live, max: info.max_entries().into(), id: info.id() })
    }
}

/// The power of two nearest below the interval in jiffies; 0 for none.
fn heartbeat_shift(interval: Duration, hz: u64) -> u32 {
    let jiffies = interval.as_millis() * u128::from(hz) / 1000;
    jiffies.checked_ilog2().map_or(0, |shift| shift.clamp(1, 63))
}
