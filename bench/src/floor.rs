//! The floor's kernel programs and the datapath's, run side by side by `BPF_PROG_TEST_RUN`.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{
    Iter, ProgramError, ProgramFd, RawTracePoint, RawTracePointRunOptions, SchedClassifier, TestRun, TestRunOptions,
    TestRunResult, Xdp,
};
use aya::{Btf, Ebpf, EbpfLoader, Pod, include_bytes_aligned};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use synscope_abi::counter::Counter;
use synscope_abi::event::Event;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::settings::CURRENT;
use synscope_datapath::events;
use synscope_datapath::kernel::{Kernel, Table};

use crate::iterator::MapIterator;
use crate::samples::number;

static OBJECT: &[u8] = include_bytes_aligned!(env!("BENCH_EBPF_FLOOR"));

/// Runs that fit the ring between two looks at it, if each leaves a record.
pub(crate) const RING_RUNS: u32 = 20_000;

const CLASSIFIERS: [&str; 9] =
    ["empty", "known", "account", "unknown", "submit", "event", "event_now", "stage_random", "stage_next"];
const XDP_EMPTY: &str = "xdp_empty";
const WALKS: [&str; 4] = ["walk", "walk_and_take", "clear_flows", "clear_floor"];

/// The loaded floor programs.
pub(crate) struct Floor {
    ebpf: Ebpf,
}

impl Floor {
    /// Loads all programs. With `pins`, records and their counters go where the datapath reads them.
    pub(crate) fn load(pins: Option<&Path>) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        if let Some(pins) = pins {
            for name in ["EVENTS", "COUNTS"] {
                loader.map_pin_path(name, pins.join(name));
            }
        }
        let mut ebpf = loader.load(OBJECT).context("cannot load the floor programs")?;
        for name in CLASSIFIERS.into_iter().chain(["replay"]) {
            let program: &mut SchedClassifier = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load().context(name)?;
        }
        let program: &mut Xdp = ebpf.program_mut(XDP_EMPTY).context(XDP_EMPTY)?.try_into()?;
        program.load().context(XDP_EMPTY)?;
        for name in WALKS {
            let program: &mut RawTracePoint = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load().context(name)?;
        }
        Ok(Self { ebpf })
    }

    /// Mean ns of `runs` runs with this frame.
    pub(crate) fn time(&self, name: &'static str, frame: &[u8], runs: u32) -> Result<f64> {
        let program: &SchedClassifier = self.ebpf.program(name).context(name)?.try_into()?;
        time(program, frame, runs)
    }

    /// Mean ns of `runs` runs of nothing where the driver hands packets over.
    pub(crate) fn time_xdp_empty(&self, frame: &[u8], runs: u32) -> Result<f64> {
        let program: &Xdp = self.ebpf.program(XDP_EMPTY).context(XDP_EMPTY)?.try_into()?;
        time(program, frame, runs)
    }

    /// Runs a walk once.
    pub(crate) fn walk(&self, name: &'static str) -> Result<()> {
        let program: &RawTracePoint = self.ebpf.program(name).context(name)?.try_into()?;
        let answer = program.test_run(RawTracePointRunOptions::new())?.return_value.cast_signed();
        ensure!(answer >= 0, "{name} answered {answer}");
        Ok(())
    }

    /// A program's handle, to be called from a stage.
    pub(crate) fn program(&self, name: &'static str) -> Result<ProgramFd> {
        let program: &SchedClassifier = self.ebpf.program(name).context(name)?.try_into()?;
        Ok(program.fd()?.try_clone()?)
    }

    /// What stages call from now on.
    pub(crate) fn aim_stages_at(&mut self, program: &ProgramFd) -> Result<()> {
        let map = self.ebpf.map_mut("TARGET").context("TARGET")?;
        Ok(ProgramArray::try_from(map)?.set(0, program, 0)?)
    }

    /// The random stage draws of so many flows; both stages begin anew.
    pub(crate) fn reset_stages(&mut self, working_set: u64) -> Result<()> {
        self.write("WORKING_SET", 0, working_set)?;
        self.write("STAGE", 0, 0x9e37_79b9_7f4a_7c15_u64)?;
        self.write("STAGE", 1, 0_u64)
    }

    /// Writes an array's element.
    pub(crate) fn write<T: Pod>(&mut self, name: &'static str, index: u32, value: T) -> Result<()> {
        let map = self.ebpf.map_mut(name).context(name)?;
        Ok(Array::<_, T>::try_from(map)?.set(index, value, 0)?)
    }

    /// Puts an entry into the floor's table.
    pub(crate) fn insert(&mut self, key: FlowKey<4>, flow: Flow) -> Result<()> {
        let map = self.ebpf.map_mut("FLOOR").context("FLOOR")?;
        Ok(HashMap::<_, FlowKey<4>, Flow>::try_from(map)?.insert(key, flow, 0)?)
    }

    /// Walks go through this table from now on.
    pub(crate) fn walk_through(&mut self, table: &Table<4>) -> Result<()> {
        let map = self.ebpf.map_mut("FLOWS_V4").context("FLOWS_V4")?;
        Ok(ArrayOfMaps::<_, Table<4>>::try_from(map)?.set(CURRENT, table, 0)?)
    }

    /// An iterator over that table; none where the kernel refuses it.
    pub(crate) fn iterator(&mut self) -> Result<Option<MapIterator>> {
        let btf = Btf::from_sys_fs().context("the kernel's types")?;
        let program: &mut Iter = self.ebpf.program_mut("dump").context("dump")?.try_into()?;
        match program.load("bpf_map_elem", &btf) {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::PermissionDenied => {
                eprintln!("bench: this kernel refuses iterators over maps: what stands beside one stands alone");
                return Ok(None);
            }
            loaded => loaded.context("dump")?,
        }
        let program = program.fd()?.try_clone()?;
        let map = self.ebpf.map("FLOWS_V4").context("FLOWS_V4")?;
        let table: MapData = ArrayOfMaps::try_from(map)?.get(&CURRENT, 0)?;
        MapIterator::new(program.as_fd(), table.fd().as_fd()).map(Some)
    }

    /// Hands the events that are replayed to the kernel.
    pub(crate) fn record(&mut self, count: u32, event: impl Fn(u32) -> Event) -> Result<()> {
        (0..count).try_for_each(|number| self.write("RECORDED", number, event(number)))
    }

    /// Replays so many recorded events into the ring.
    pub(crate) fn replay(&self, count: u32) -> Result<()> {
        self.time("replay", &[0; 64], count).map(drop)
    }

    /// What the floor's programs counted.
    pub(crate) fn counter(&self, counter: Counter) -> Result<u64> {
        let map = self.ebpf.map("COUNTS").context("COUNTS")?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&(counter as u32), 0)?.iter().sum())
    }

    /// Takes the ring that the floor's records go to.
    pub(crate) fn take_events(&mut self) -> Result<RingBuf<MapData>> {
        Ok(RingBuf::try_from(self.ebpf.take_map("EVENTS").context("EVENTS")?)?)
    }
}

/// Mean ns of `runs` runs of the datapath's ingress program.
pub(crate) fn time_ingress(kernel: &mut Kernel, frame: &[u8], runs: u32) -> Result<f64> {
    time(&*kernel.classifier("ingress")?, frame, runs)
}

/// Mean ns of `runs` runs of a program with this frame.
pub(crate) fn time<'a, P>(program: &'a P, frame: &'a [u8], runs: u32) -> Result<f64>
where
    P: TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let options = TestRunOptions { data_in: Some(frame), repeat: runs, ..TestRunOptions::new() };
    let nanos = program.test_run(options)?.duration.as_nanos();
    Ok(number(u64::try_from(nanos)?))
}

/// The mean over `runs` runs that leave a record each: the ring is emptied between parts of them, so that none is lost.
pub(crate) fn time_in_parts(
    runs: u32,
    ring: &mut RingBuf<MapData>,
    mut part: impl FnMut(u32) -> Result<f64>,
) -> Result<f64> {
    let parts = runs.div_ceil(RING_RUNS);
    events::drain(ring, |_left_before| {});
    let (mut sum, mut seen) = (0.0, 0);
    for _part in 0..parts {
        sum += part(RING_RUNS)?;
        seen += events::drain(ring, |_| {}).events;
    }
    ensure!(seen == u64::from(parts * RING_RUNS), "{} records were made, {seen} read", parts * RING_RUNS);
    Ok(sum / f64::from(parts))
}

/// Keeps this thread on one CPU, the last one: the first takes most interrupts.
pub(crate) fn pin_to_one_cpu() -> Result<()> {
    stay_on_cpu(std::thread::available_parallelism()?.get() - 1)
}

/// Ties this thread to a CPU.
pub(crate) fn stay_on_cpu(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("cannot stay on CPU {cpu}"))
}

/// The datapath's ingress program, to be called from a stage.
pub(crate) fn ingress(kernel: &mut Kernel) -> Result<ProgramFd> {
    Ok(kernel.classifier("ingress")?.fd()?.try_clone()?)
}
