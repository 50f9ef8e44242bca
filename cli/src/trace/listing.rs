//! `-l`: what there is to attach to.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use synscope_tracer::Environment;
use synscope_tracer::attach::resolve;
use synscope_tracer::list::{Listed, probes, search};
use synscope_tracer::parse;
use synscope_tracer::source::Source;

use super::options::Options;

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let found = match (&options.execute, options.rest.split_first()) {
        (Some(script), _) => of_script(&Source::new("stdin", script.clone()), &options.rest, options)?,
        (None, Some((file, parameters))) if std::path::Path::new(file).is_file() => {
            let text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
            of_script(&Source::new(file.clone(), text), parameters, options)?
        }
        (None, pattern) => {
            let pattern = pattern.map_or("*", |(pattern, _)| pattern);
            Some(search(pattern, options.verbose, &Environment::default())?)
        }
    };
    let Some(found) = found else { return Ok(ExitCode::FAILURE) };
    let mut out = io::BufWriter::new(io::stdout().lock());
    for listed in found {
        write(&listed, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A name, and its details below it; what a type is stands for itself.
fn write(listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    if listed.name.contains(' ') {
        return match listed.details.as_slice() {
            [] => writeln!(out, "{}", listed.name),
            details => details.iter().try_for_each(|definition| writeln!(out, "{definition}\n")),
        };
    }
    writeln!(out, "{}", listed.name)?;
    listed.details.iter().try_for_each(|detail| writeln!(out, "    {detail}"))
}

/// The probes that a script attaches to; none if it cannot be read, which is said.
fn of_script(source: &Source, parameters: &[String], options: &Options) -> Result<Option<Vec<Listed>>> {
    let parsed = parse(source);
    super::report(&parsed.diagnostics, source, options);
    let Some(program) = parsed.program else { return Ok(None) };
    let environment = Environment::new(parameters.to_vec(), synscope_tracer::settings::Settings::default());
    let mut found = Vec::new();
    for point in program.probes.iter().flat_map(|probe| &probe.attach_points) {
        match resolve(point, parameters) {
            Ok(attachment) => {
                let there = probes(&attachment, options.verbose, &environment)?;
                // Clocks and the trace's own beginning are no list's: they are what is written.
                let written = || source.text().get(point.span.range()).unwrap_or_default().to_owned();
                let itself = there.is_empty().then(|| Listed { name: written(), details: Vec::new() });
                found.extend(there.into_iter().chain(itself));
            }
            Err(wrong) => {
                super::report(&[*wrong], source, options);
                return Ok(None);
            }
        }
    }
    Ok(Some(found))
}
