//! `synscope trace`: bpftrace's command line, on one machine.

mod info;
mod listing;
mod options;
mod output;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use signal_hook::consts::{SIGINT, SIGTERM};
use synscope_tracer::diagnostic::{Diagnostic, Severity};
use synscope_tracer::load::{LoadError, verify};
use synscope_tracer::lower::{Lowered, lower};
use synscope_tracer::render::render_all;
use synscope_tracer::run::{self, Ended, Losses, RunError};
use synscope_tracer::settings::Settings;
use synscope_tracer::source::Source;
use synscope_tracer::typed::Script;
use synscope_tracer::{Environment, check, parse};

pub(crate) use options::Options;

use crate::held::Held;
use output::Output;

/// What shells give for a process that a closed pipe ended: 128 and the number of the signal.
const BROKEN_PIPE: u8 = 141;

/// Does what the options say.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    without_effect(options);
    if options.info {
        return info::run();
    }
    if options.list {
        return listing::run(options);
    }
    let command = options.command.as_deref().map(Held::start).transpose()?;
    let (source, parameters) = script(options)?;
    let environment = environment(options, parameters, command.as_ref())?;
    let Some((script, lowered)) = compile(&source, &environment, options) else { return Ok(ExitCode::FAILURE) };
    let mut out = io::stdout().lock();
    if options.listing {
        for (probe, code) in script.probes.iter().zip(&lowered.programs) {
            write!(out, "{}:\n{}", probe.name, code.listing())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.check {
        return match verify(&script, &lowered) {
            Ok(()) => {
                write!(out, "{}", attachments(&script))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => refused(error.into(), &source, options),
        };
    }
    drop(out);
    if options.verbose {
        complain(&attachments(&script));
    }
    trace(&source, &script, &lowered, options, command)
}

/// Says which options are there for bpftrace's sake only.
fn without_effect(options: &Options) {
    let none = [
        ("-I", !options.headers.is_empty(), "types come from the running kernel"),
        ("--include", !options.include.is_empty(), "types come from the running kernel"),
        ("--unsafe", options.allow_unsafe, "tracing is read-only"),
    ];
    for (option, given, why) in none {
        if given && !options.no_warnings {
            complain(&format!("warning: `{option}` changes nothing: {why}\n"));
        }
    }
}

fn script(options: &Options) -> Result<(Source, Vec<String>)> {
    if let Some(script) = &options.execute {
        return Ok((Source::new("stdin", script.clone()), options.rest.clone()));
    }
    let (file, parameters) = options.rest.split_first().context("name a script's file, or give a script with -e")?;
    let (name, text) = if file == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        ("stdin", text)
    } else {
        (file.as_str(), std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?)
    };
    Ok((Source::new(name, text), parameters.to_vec()))
}

fn environment(options: &Options, parameters: Vec<String>, command: Option<&Held>) -> Result<Environment> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let (settings, remarks) = Settings::from_environment(variables)?;
    for remark in remarks.iter().filter(|_| !options.no_warnings) {
        complain(&format!("warning: {remark}\n"));
    }
    let mut environment = Environment::new(parameters, settings);
    environment.child = command.map(Held::id);
    Ok(environment)
}

/// The script ready to run; what is wrong with it is said.
fn compile(source: &Source, environment: &Environment, options: &Options) -> Option<(Script, Lowered)> {
    let parsed = parse(source);
    report(&parsed.diagnostics, source, options);
    let program = parsed.program?;
    let checked = check(&program, environment);
    report(&checked.diagnostics, source, options);
    let script = checked.script?;
    match lower(&script) {
        Ok(lowered) => Some((script, lowered)),
        Err(diagnostic) => {
            report(&[*diagnostic], source, options);
            None
        }
    }
}

/// How each probe is attached, and why so.
fn attachments(script: &Script) -> String {
    let line = |probe: &synscope_tracer::typed::Probe| {
        let (by, why) = probe.target.attached_as();
        let places = match probe.target.places() {
            1 => String::new(),
            places => format!(" at {places} functions"),
        };
        format!("{}: {by}{places} ({why})\n", probe.name)
    };
    script.probes.iter().map(line).collect()
}

fn trace(
    source: &Source,
    script: &Script,
    lowered: &Lowered,
    options: &Options,
    command: Option<Held>,
) -> Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends at once. The order matters: the first must not find the flag set.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("signals cannot be waited for")?;
    }
    for process in options.pid.into_iter().chain(command.as_ref().map(Held::id)) {
        stop_with(process, &stop)?;
    }
    let mut output = Output::new(options, command)?;
    if options.dry_run {
        output.command = None;
        return match run::dry_run(script, lowered, &mut output) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => refused(error, source, options),
        };
    }
    match run::run(script, lowered, &mut output, &stop) {
        Ok(Ended { code, losses: Losses { values, hits, .. } }) => {
            if values > 0 && !options.no_warnings {
                complain(&format!("{values} values found no room in their maps\n"));
            }
            if hits > 0 && !options.no_warnings {
                complain(&format!("{hits} hits were missed: a program ran on their CPU already\n"));
            }
            Ok(ExitCode::from(code))
        }
        Err(error) => refused(error, source, options),
    }
}

/// Stops the trace when a process ends.
fn stop_with(process: u32, stop: &Arc<AtomicBool>) -> Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("no process has this number")?;
    let process_ends = pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("process {process}"))?;
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        while poll(&mut [PollFd::new(&process_ends, PollFlags::IN)], None)
            .is_err_and(|error| error == rustix::io::Errno::INTR)
        {}
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Says why a trace did not come about, or broke off.
fn refused(error: RunError, source: &Source, options: &Options) -> Result<ExitCode> {
    match error {
        RunError::Load(LoadError::Refused(refused)) => {
            report(&[refused.diagnostic], source, options);
            Ok(ExitCode::FAILURE)
        }
        // Whoever read the results has enough of them.
        RunError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::from(BROKEN_PIPE)),
        other => Err(other.into()),
    }
}

fn report(diagnostics: &[Diagnostic], source: &Source, options: &Options) {
    let wanted = |diagnostic: &&Diagnostic| !options.no_warnings || diagnostic.severity == Severity::Error;
    let wanted: Vec<Diagnostic> = diagnostics.iter().filter(wanted).cloned().collect();
    if !wanted.is_empty() {
        complain(&render_all(&wanted, source, io::stderr().is_terminal()));
    }
}

/// To the error stream; where even that is closed, nobody listens.
pub(crate) fn complain(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}
