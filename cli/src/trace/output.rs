//! Where results go, and what happens around them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use synscope_tracer::run::{Json, Report, Sink, Text};

use super::options::{Buffering, Format, Options};
use crate::held::Held;

/// Where this variable is 1, its name is written once all probes are attached, as bpftrace does for test drivers.
const NOTIFY: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// Takes a trace's reports: writes results, and lets the command begin when all is attached.
pub(super) struct Output {
    results: Box<dyn Sink>,
    /// Standard output, where what is no result goes even if results go elsewhere.
    beside: File,
    /// Whether results wait until there are many.
    patient: bool,
    quiet: bool,
    notify: bool,
    pub(super) command: Option<Held>,
}

impl Output {
    /// As the options say.
    pub(super) fn new(options: &Options, command: Option<Held>) -> Result<Self> {
        // Without a buffer of its own: there is one here, or none is wanted.
        let standard = || -> io::Result<File> { Ok(io::stdout().as_fd().try_clone_to_owned()?.into()) };
        let beside = standard().context("there is no standard output")?;
        let to = match &options.output {
            Some(path) => File::create(path).with_context(|| format!("{} cannot be written", path.display()))?,
            None => standard().context("there is no standard output")?,
        };
        let to: Box<dyn Write> = match options.buffering {
            Buffering::None => Box::new(to),
            Buffering::Line | Buffering::Full => Box::new(BufWriter::new(to)),
        };
        let results: Box<dyn Sink> = match options.format {
            Format::Text => Box::new(Text::new(to, io::stderr())),
            Format::Json => Box::new(Json::new(to, io::stderr())),
        };
        let notify = std::env::var_os(NOTIFY).is_some_and(|asked| asked == "1");
        let patient = options.buffering == Buffering::Full;
        Ok(Self { results, beside, patient, quiet: options.quiet, notify, command })
    }

    /// What waits is written, also where that is not wanted yet.
    fn write_out(&mut self) -> io::Result<()> {
        self.results.flush()
    }

    fn attached(&mut self) -> io::Result<()> {
        if self.notify {
            self.write_out()?;
            writeln!(self.beside, "{NOTIFY}")?;
        }
        self.command.as_mut().map_or(Ok(()), |command| command.begin().map_err(io::Error::other))
    }
}

impl Sink for Output {
    fn take(&mut self, report: Report) -> io::Result<()> {
        match report {
            Report::Attaching(_) if self.quiet => Ok(()),
            Report::Attached => self.attached(),
            Report::Ending => {
                self.write_out()?;
                write!(self.beside, "\n\n")
            }
            other => self.results.take(other),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.patient { Ok(()) } else { self.write_out() }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // What could not be written was said, or will be when nothing else can be done about it.
        drop(self.write_out());
    }
}
