//! `--info`: what this kernel and this build have.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use nix::sys::utsname::uname;
use synscope_tracer::Environment;
use synscope_tracer::info::groups;

pub(super) fn run() -> Result<ExitCode> {
    let environment = Environment::default();
    let groups = groups(&environment)?;
    let system = uname()?;
    let part = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let [name, release, version] = [system.sysname(), system.release(), system.version()].map(part);
    writeln!(out, "System\n  OS: {name} {release} {version}\n  Arch: {}\n", part(system.machine()))?;
    writeln!(out, "Build\n  version: {}", env!("CARGO_PKG_VERSION"))?;
    for group in groups {
        writeln!(out, "\n{}", group.title)?;
        for (feature, there) in group.features {
            writeln!(out, "  {feature}: {}", if there { "yes" } else { "no" })?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
