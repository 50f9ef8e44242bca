//! A trace while it runs: attaches it, carries its output out, and ends it as bpftrace does.

mod histogram;
mod maps;
mod printf;
mod stack;
mod symbols;
mod value;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::load::{LoadError, Loaded};
use crate::lower::Lowered;
use crate::target::Target;
use crate::typed::{Held, Output, Script};
use symbols::Symbols;
use value::Value;

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

/// What a trace lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Records that found no room on their way.
    pub records: u64,
    /// Values that found no room in their map.
    pub values: u64,
}

/// How long records wait at most before they are looked at.
const POLL: Duration = Duration::from_millis(10);

/// Runs a script until it exits or `stop` is set. `attached` is called once all its
/// probes are, before anything that they send is written.
pub fn run(
    script: &Script,
    lowered: &Lowered,
    out: &mut dyn Write,
    error: &mut dyn Write,
    stop: &AtomicBool,
    attached: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Losses, RunError> {
    let mut loaded = Loaded::new(script, lowered)?;
    let mut printer = Printer { script, symbols: Symbols::default(), exited: false };
    let count: usize = script.probes.iter().map(|probe| probe.target.places()).sum();
    writeln!(out, "Attaching {count} probe{}...", if count == 1 { "" } else { "s" })?;
    out.flush()?;
    loaded.run(script, |target| matches!(target, Target::Begin))?;
    let links = loaded.attach(script)?;
    for (probe, functions) in &links.refused {
        writeln!(error, "functions of `{probe}` that cannot be probed: {functions}")?;
    }
    attached(out)?;
    while !printer.exited && !stop.load(Ordering::Relaxed) {
        if printer.drain(&mut loaded, out, error)? == 0 && !printer.exited {
            std::thread::sleep(POLL);
        }
    }
    drop(links);
    // What was sent until the last probe was detached still counts, unless the script said that it is done.
    if !printer.exited {
        printer.drain(&mut loaded, out, error)?;
    }
    loaded.ring.drain(|_after_exit| true);
    printer.exited = false;
    loaded.run(script, |target| matches!(target, Target::End))?;
    printer.drain(&mut loaded, out, error)?;
    write!(out, "\n\n")?;
    if script.settings.print_maps_on_exit {
        let mut order: Vec<usize> = (0..script.maps.len()).collect();
        order.sort_by_key(|map| script.maps.get(*map).map(|map| &map.name));
        for map in order {
            printer.map(&loaded, map, 0, 0, out)?;
        }
    }
    out.flush()?;
    let (records, values) = loaded.losses()?;
    Ok(Losses { records, values })
}

struct Printer<'s> {
    script: &'s Script,
    symbols: Symbols,
    exited: bool,
}

impl Printer<'_> {
    /// Carries out all that waits, up to the end of the trace if it is there. Gives how many records there were.
    fn drain(&mut self, loaded: &mut Loaded, out: &mut dyn Write, error: &mut dyn Write) -> io::Result<usize> {
        let mut records: Vec<Vec<u8>> = Vec::new();
        let exits: Vec<bool> = self.script.outputs.iter().map(|output| *output == Output::Exit).collect();
        let mut exited = false;
        let seen = loaded.ring.drain(|record| {
            exited = output_number(record).and_then(|number| exits.get(number)).copied().unwrap_or(false);
            records.push(record.to_vec());
            !exited
        });
        for record in records {
            self.record(loaded, &record, out, error)?;
        }
        out.flush()?;
        error.flush()?;
        self.exited |= exited;
        Ok(seen)
    }

    fn record(&mut self, loaded: &Loaded, record: &[u8], out: &mut dyn Write, error: &mut dyn Write) -> io::Result<()> {
        let output = output_number(record).and_then(|number| self.script.outputs.get(number));
        let values = record.get(8..).unwrap_or_default();
        match output {
            Some(Output::Printf { format, error: to_error }) => {
                let mut at = 0;
                let mut decoded = Vec::new();
                for ty in &format.types {
                    let room = ty.room() as usize;
                    let value = Value::decode(ty, values.get(at..at + room).unwrap_or_default());
                    decoded.push(self.symbols.resolve(value, loaded));
                    at += room;
                }
                printf::write(format, &decoded, if *to_error { error } else { out })
            }
            Some(Output::Value(ty)) => {
                let value = self.symbols.resolve(Value::decode(ty, values), loaded);
                value.write(out)?;
                writeln!(out)
            }
            Some(Output::Map { map, top, divisor }) => self.map(loaded, *map, *top, *divisor, out),
            Some(Output::Clear(map)) => loaded.map(*map).map_or(Ok(()), crate::load::LoadedMap::clear),
            Some(Output::Zero(map)) => {
                // A map without keys marks behind its value that there is one.
                let marked = self
                    .script
                    .maps
                    .get(*map)
                    .is_some_and(|known| known.key.is_none() && matches!(known.value, Held::Values(_)));
                let kept = if marked { crate::plan::FLAG } else { 0 };
                loaded.map(*map).map_or(Ok(()), |map| map.zero(kept))
            }
            Some(Output::Time(format)) => {
                let text = value::time_of_day(format);
                out.write_all(text.as_bytes())
            }
            Some(Output::Exit) | None => Ok(()),
        }
    }

    fn map(&mut self, loaded: &Loaded, map: usize, top: u64, divisor: u64, out: &mut dyn Write) -> io::Result<()> {
        let (Some(known), Some(loaded_map)) = (self.script.maps.get(map), loaded.map(map)) else { return Ok(()) };
        maps::print(known, loaded_map, (top, divisor), &mut |value| self.symbols.resolve(value, loaded), out)
    }
}

/// Which output a record belongs to.
fn output_number(record: &[u8]) -> Option<usize> {
    let number = u64::from_ne_bytes(record.get(..8)?.try_into().ok()?);
    usize::try_from(number).ok()
}
