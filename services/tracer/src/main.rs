//! The trace language at a command line.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use synscope_tracer::diagnostic::Diagnostic;
use synscope_tracer::load::{LoadError, verify};
use synscope_tracer::lower::{Lowered, lower};
use synscope_tracer::render::render_all;
use synscope_tracer::run::{Report, RunError, Sink, Text, run};
use synscope_tracer::settings::Settings;
use synscope_tracer::source::Source;
use synscope_tracer::typed::Script;
use synscope_tracer::{Environment, check, parse};

/// Where this variable is 1, its name is written once all probes are attached, as bpftrace does for test drivers.
const NOTIFY: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// Traces the kernel with scripts in bpftrace's language.
#[derive(Debug, Parser)]
#[command(name = "synscope-tracer", version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs a script until it exits or is interrupted.
    Run(Chosen),
    /// Says what is wrong with a script, without running it.
    Check(Chosen),
    /// Shows the instructions that a script becomes.
    Listing(Chosen),
}

#[derive(Debug, Args)]
struct Chosen {
    /// The script itself.
    #[arg(short, long, value_name = "SCRIPT")]
    execute: Option<String>,
    /// The script's file (without -e), and the script's parameters.
    #[arg(value_name = "FILE | PARAMETER")]
    rest: Vec<String>,
}

fn main() -> ExitCode {
    match act(&Arguments::parse().action) {
        Ok(code) => code,
        Err(error) => {
            write_error(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn act(action: &Action) -> Result<ExitCode> {
    let (Action::Run(chosen) | Action::Check(chosen) | Action::Listing(chosen)) = action;
    let (source, parameters) = source(chosen)?;
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let (settings, remarks) = Settings::from_environment(variables)?;
    for remark in remarks {
        write_error(&format!("warning: {remark}\n"));
    }
    let Some((script, lowered)) = compile(&source, &Environment::new(parameters, settings)) else {
        return Ok(ExitCode::FAILURE);
    };
    match action {
        Action::Check(_) => match verify(&script, &lowered) {
            Ok(()) => {
                let mut out = std::io::stdout().lock();
                for probe in &script.probes {
                    let (by, why) = probe.target.attached_as();
                    let places = match probe.target.places() {
                        1 => String::new(),
                        places => format!(" at {places} functions"),
                    };
                    writeln!(out, "{}: {by}{places} ({why})", probe.name)?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Err(LoadError::Refused(refused)) => {
                report(&[refused.diagnostic], &source);
                Ok(ExitCode::FAILURE)
            }
            Err(other) => Err(other.into()),
        },
        Action::Listing(_) => {
            let mut out = std::io::stdout().lock();
            for (probe, code) in script.probes.iter().zip(&lowered.programs) {
                write!(out, "{}:\n{}", probe.name, code.listing())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Run(_) => trace(&source, &script, &lowered),
    }
}

fn source(chosen: &Chosen) -> Result<(Source, Vec<String>)> {
    if let Some(script) = &chosen.execute {
        return Ok((Source::new("stdin", script.clone()), chosen.rest.clone()));
    }
    let (file, parameters) = chosen.rest.split_first().context("name a script's file, or give a script with -e")?;
    let path = PathBuf::from(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
    Ok((Source::new(file.clone(), text), parameters.to_vec()))
}

/// The script ready to run; what is wrong with it is said.
fn compile(source: &Source, environment: &Environment) -> Option<(Script, Lowered)> {
    let parsed = parse(source);
    report(&parsed.diagnostics, source);
    let program = parsed.program?;
    let checked = check(&program, environment);
    report(&checked.diagnostics, source);
    let script = checked.script?;
    match lower(&script) {
        Ok(lowered) => Some((script, lowered)),
        Err(diagnostic) => {
            report(&[*diagnostic], source);
            None
        }
    }
}

fn trace(source: &Source, script: &Script, lowered: &Lowered) -> Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals cannot be waited for")?;
    }
    let notify = std::env::var_os(NOTIFY).is_some_and(|asked| asked == "1");
    let mut output = Output { text: Text::new(BufWriter::new(io::stdout().lock()), io::stderr()), notify };
    match run(script, lowered, &mut output, &stop) {
        Ok(losses) => {
            if losses.values > 0 {
                write_error(&format!("{} values found no room in their maps\n", losses.values));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(RunError::Load(LoadError::Refused(refused))) => {
            report(&[refused.diagnostic], source);
            Ok(ExitCode::FAILURE)
        }
        Err(other) => Err(other.into()),
    }
}

/// What a trace has to say, as text.
struct Output<O: Write, E: Write> {
    text: Text<O, E>,
    notify: bool,
}

impl<O: Write, E: Write> Sink for Output<O, E> {
    fn take(&mut self, report: Report) -> io::Result<()> {
        match report {
            Report::Attached if self.notify => {
                self.text.take(Report::Printed { text: format!("{NOTIFY}\n").into_bytes(), error: false })
            }
            other => self.text.take(other),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.text.flush()
    }
}

fn report(diagnostics: &[Diagnostic], source: &Source) {
    if !diagnostics.is_empty() {
        write_error(&render_all(diagnostics, source, std::io::stderr().is_terminal()));
    }
}

/// To the error stream; where even that is closed, nobody listens.
fn write_error(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}
