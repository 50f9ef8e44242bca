//! A trace while it runs: attaches it, hands on what comes of it, and ends it as bpftrace does.

mod clock;
mod decode;
mod histogram;
mod json;
mod layout;
mod printf;
mod series;
mod signal;
mod snapshot;
mod stack;
mod symbols;
mod text;
mod value;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::load::{Attached, LoadError, Loaded, Spent};
use crate::lower::Lowered;
use crate::plan;
use crate::target::Target;
use crate::typed::{Held, MapId, Output, Script};
use crate::types::Aggregate;
use decode::Decoder;
use symbols::Symbols;

pub use histogram::Range;
pub use json::Json;
pub use series::Point;
pub use snapshot::{Entries, Gathered, Keyed, Ranges, Snapshot};
pub use text::Text;
pub use value::Value;

/// Something that a trace has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It is about to attach its probes: at so many places.
    Attaching(usize),
    /// Of a pattern's functions so many cannot be probed.
    Unprobed {
        /// The probe.
        probe: String,
        /// How many.
        functions: usize,
    },
    /// All its probes are attached. What they sent comes behind this.
    Attached,
    /// What `printf` makes, or `errorf`.
    Printed {
        /// The text; where it ends, no line need end.
        text: Vec<u8>,
        /// Whether it is `errorf`'s.
        error: bool,
    },
    /// A value on its own.
    Value(Value),
    /// A map.
    Map(Snapshot, Shown),
    /// The time of day, in the script's format.
    Time(String),
    /// Texts that `join` puts on a line.
    Joined(Vec<u8>),
    /// So many records found no room on their way since this was last said.
    Lost(u64),
    /// It is over: what follows are its maps.
    Ending,
}

/// How much of a map is shown, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shown {
    /// How many of the largest entries; 0 for all.
    pub top: u64,
    /// What values are divided by; 0 for nothing.
    pub divisor: u64,
}

impl Shown {
    /// As bpftrace has it: all stats and series are shown, and linear histograms and series are not divided.
    fn of(self, entries: &Entries) -> Self {
        match entries {
            Entries::Gathered(Aggregate::Stats { .. }, _) => Self { top: 0, ..self },
            Entries::Histograms(Aggregate::Linear { .. }, _) => Self { divisor: 0, ..self },
            Entries::Series(..) => Self::default(),
            _ => self,
        }
    }

    /// The largest entries, which stand last.
    pub fn largest<T>(self, entries: &[T]) -> &[T] {
        let top = usize::try_from(self.top).unwrap_or(usize::MAX);
        let first = if top > 0 { entries.len().saturating_sub(top) } else { 0 };
        entries.get(first..).unwrap_or_default()
    }
}

/// Where reports go.
pub trait Sink {
    /// Takes one.
    fn take(&mut self, report: Report) -> io::Result<()>;

    /// Is called whenever no more reports wait.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a trace ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel refused something.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The output could not be written, or a map not be read.
    #[error("the trace's output cannot be carried out")]
    Output(#[from] io::Error),
}

/// How a trace ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The code that the script exits with; 0 where it names none.
    pub code: u8,
    /// What was lost.
    pub losses: Losses,
}

/// What a trace lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Records that found no room on their way.
    pub records: u64,
    /// Values that found no room in their map.
    pub values: u64,
    /// Hits at which a program was not run, as one ran on that CPU already.
    pub hits: u64,
}

/// How long records wait at most before they are looked at.
const POLL: Duration = Duration::from_millis(10);

/// Runs a script until it exits or `stop` is set.
pub fn run(script: &Script, lowered: &Lowered, sink: &mut dyn Sink, stop: &AtomicBool) -> Result<Ended, RunError> {
    let mut trace = Trace::begin(script, lowered, sink)?;
    while trace.exited().is_none() && !stop.load(Ordering::Relaxed) {
        if trace.carry(sink)? == 0 && trace.exited().is_none() {
            std::thread::sleep(POLL);
        }
    }
    trace.end(sink)
}

/// Attaches a script and detaches it again, without running any of it on purpose.
pub fn dry_run(script: &Script, lowered: &Lowered, sink: &mut dyn Sink) -> Result<(), RunError> {
    drop(Trace::new(script, lowered, sink, false)?);
    sink.take(Report::Ending)?;
    Ok(sink.flush()?)
}

/// A script that is attached. All that it made in the kernel goes when this goes.
#[derive(Debug)]
pub struct Trace<'s> {
    script: &'s Script,
    loaded: Loaded,
    links: Attached,
    symbols: Symbols,
    /// What the script exits with, once it has said that it is done.
    code: Option<u8>,
    /// Whether a signal came that the script has a probe at; only where it has one.
    signal: Option<signal::Waiting>,
    lost: u64,
}

impl<'s> Trace<'s> {
    /// Loads and attaches a script, and runs its `BEGIN`.
    pub fn begin(script: &'s Script, lowered: &Lowered, sink: &mut dyn Sink) -> Result<Self, RunError> {
        Self::new(script, lowered, sink, true)
    }

    fn new(script: &'s Script, lowered: &Lowered, sink: &mut dyn Sink, begin: bool) -> Result<Self, RunError> {
        let loaded = Loaded::new(script, lowered)?;
        let waits = script.probes.iter().any(|probe| matches!(probe.target, Target::Signal));
        let signal = waits.then(signal::Waiting::new).transpose()?;
        sink.take(Report::Attaching(script.probes.iter().map(|probe| probe.target.places()).sum()))?;
        sink.flush()?;
        if begin {
            loaded.run(script, |target| matches!(target, Target::Begin))?;
        }
        let links = loaded.attach(script)?;
        for (probe, functions) in &links.refused {
            sink.take(Report::Unprobed { probe: probe.clone(), functions: *functions })?;
        }
        let symbols = Symbols::default();
        if script.probes.iter().any(|probe| probe.target.is_in_module()) {
            symbols.keep();
        }
        sink.take(Report::Attached)?;
        sink.flush()?;
        Ok(Self { script, loaded, links, symbols, code: None, signal, lost: 0 })
    }

    /// Hands on all that waits, up to the end of the trace if it is there. Gives how many records there were.
    pub fn carry(&mut self, sink: &mut dyn Sink) -> Result<usize, RunError> {
        if self.code.is_none() && self.signal.as_ref().is_some_and(signal::Waiting::came) {
            self.loaded.run(self.script, |target| matches!(target, Target::Signal))?;
        }
        let exits: Vec<bool> = self.script.outputs.iter().map(|output| *output == Output::Exit).collect();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut exited = false;
        let seen = self.loaded.ring.drain(|record| {
            exited = output_number(record).and_then(|number| exits.get(number)).copied().unwrap_or(false);
            records.push(record.to_vec());
            !exited
        });
        if exited && let Some(record) = records.last() {
            // As much of it as the process' parent sees.
            self.code.get_or_insert(record.get(8).copied().unwrap_or(0));
        }
        for record in records {
            self.record(&record, sink)?;
        }
        if seen > 0 {
            self.count_lost(sink)?;
            sink.flush()?;
        }
        Ok(seen)
    }

    /// What the script exits with, once it has said that it is done.
    pub fn exited(&self) -> Option<u8> {
        self.code
    }

    /// All maps as they are now, by name.
    pub fn snapshots(&self) -> io::Result<Vec<Snapshot>> {
        let mut order: Vec<MapId> = (0..self.script.maps.len()).collect();
        order.sort_by_key(|map| self.script.maps.get(*map).map(|map| &map.name));
        order.into_iter().filter_map(|map| self.snapshot(map).transpose()).collect()
    }

    /// What was lost so far.
    pub fn losses(&self) -> io::Result<Losses> {
        let (records, values) = self.loaded.losses()?;
        Ok(Losses { records, values, hits: self.loaded.missed()? })
    }

    /// What its programs spent so far, where they keep within a budget.
    pub fn spent(&self) -> io::Result<Spent> {
        self.loaded.spent()
    }

    /// Detaches, runs the script's `END`, and hands on what is left and the maps.
    pub fn end(mut self, sink: &mut dyn Sink) -> Result<Ended, RunError> {
        self.links.detach();
        // What was sent until the last probe was detached still counts, unless the script said that it is done.
        if self.code.is_none() {
            self.carry(sink)?;
        }
        self.loaded.ring.drain(|_after_exit| true);
        self.loaded.run(self.script, |target| matches!(target, Target::End))?;
        self.carry(sink)?;
        self.count_lost(sink)?;
        sink.take(Report::Ending)?;
        if self.script.settings.print_maps_on_exit {
            for snapshot in self.snapshots()? {
                sink.take(Report::Map(snapshot, Shown::default()))?;
            }
        }
        sink.flush()?;
        Ok(Ended { code: self.code.unwrap_or(0), losses: self.losses()? })
    }

    fn record(&self, record: &[u8], sink: &mut dyn Sink) -> io::Result<()> {
        let output = output_number(record).and_then(|number| self.script.outputs.get(number));
        let values = record.get(8..).unwrap_or_default();
        match output {
            Some(Output::Printf { format, error }) => {
                let text = printf::formatted(format, &self.decoder().values(&format.types, values));
                sink.take(Report::Printed { text, error: *error })
            }
            Some(Output::Value(ty)) => sink.take(Report::Value(self.decoder().value(ty, values))),
            Some(Output::Map { map, top, divisor }) => match self.snapshot(*map)? {
                Some(snapshot) => {
                    let shown = Shown { top: *top, divisor: *divisor }.of(&snapshot.entries);
                    sink.take(Report::Map(snapshot, shown))
                }
                None => Ok(()),
            },
            Some(Output::Clear(map)) => self.loaded.map(*map).map_or(Ok(()), crate::load::LoadedMap::clear),
            Some(Output::Zero(map)) => {
                // A map without keys marks behind its value that there is one.
                let known = self.script.maps.get(*map);
                let marked = known.is_some_and(|known| known.key.is_none() && matches!(known.value, Held::Values(_)));
                let kept = if marked { plan::FLAG } else { 0 };
                self.loaded.map(*map).map_or(Ok(()), |map| map.zero(kept))
            }
            Some(Output::Time(format)) => {
                sink.take(Report::Time(String::from_utf8_lossy(&clock::now(format)).into_owned()))
            }
            Some(Output::Join { separator, size }) => {
                let texts = values.chunks_exact(size.next_multiple_of(8) as usize);
                let texts = texts.map(|text| text.split(|byte| *byte == 0).next().unwrap_or_default());
                let texts: Vec<&[u8]> = texts.take_while(|text| !text.is_empty()).collect();
                sink.take(Report::Joined(texts.join(separator.as_slice())))
            }
            Some(Output::Exit) | None => Ok(()),
        }
    }

    fn decoder(&self) -> Decoder<'_> {
        Decoder { symbols: &self.symbols, loaded: &self.loaded }
    }

    fn snapshot(&self, map: MapId) -> io::Result<Option<Snapshot>> {
        let (Some(known), Some(loaded)) = (self.script.maps.get(map), self.loaded.map(map)) else { return Ok(None) };
        Snapshot::read(known, loaded, self.loaded.front(map), self.decoder()).map(Some)
    }

    /// Says what was lost since it was last said.
    fn count_lost(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let (lost, _) = self.loaded.losses()?;
        if lost > self.lost {
            sink.take(Report::Lost(lost - self.lost))?;
            self.lost = lost;
        }
        Ok(())
    }
}

/// Which output a record belongs to.
fn output_number(record: &[u8]) -> Option<usize> {
    let number = u64::from_ne_bytes(record.get(..8)?.try_into().ok()?);
    usize::try_from(number).ok()
}
