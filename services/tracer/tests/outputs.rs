//! Scripts that run on this kernel, and what they write. `BLESS=1` writes the expected outputs anew; what bpftrace 0.23
//! writes is compared with them where `SYNSCOPE_BPFTRACE` names a command that runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod scripts;

use std::process::Command;
use std::sync::atomic::AtomicBool;

use synscope_tracer::lower::lower;
use synscope_tracer::render::render_all;
use synscope_tracer::run::{Text, run};
use synscope_tracer::{Environment, check, parse};

/// Scripts that bpftrace does not take: it knows such constants from headers only, loops over maps go to their end, and
/// what it makes of numbers of four bytes as arrays is refused by the kernel. 0.24 has addresses of variables.
const OURS_ONLY: &[&str] =
    &["addresses_of_variables.bt", "casts_to_arrays.bt", "constants.bt", "loops_over_maps_left.bt"];

/// What a script writes.
fn ours(script: &scripts::Script) -> Result<String, String> {
    let parsed = parse(&script.source);
    let program = parsed.program.ok_or_else(|| render_all(&parsed.diagnostics, &script.source, false))?;
    let checked = check(&program, &Environment::default());
    let checked_script = checked.script.ok_or_else(|| render_all(&checked.diagnostics, &script.source, false))?;
    let lowered = lower(&checked_script).map_err(|error| error.message)?;
    let (mut out, mut error) = (Vec::new(), Vec::new());
    let ended = run(&checked_script, &lowered, &mut Text::new(&mut out, &mut error), &AtomicBool::new(false));
    ended.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// What a command writes for a script.
fn output(mut command: Command, script: &scripts::Script) -> Result<String, String> {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let said = String::from_utf8_lossy(&ran.stderr);
    if ran.status.success() { Ok(text) } else { Err(format!("{}: {}\n{said}{text}", script.source.name(), ran.status)) }
}

/// Figures that differ from run to run.
fn settled(name: &str, text: &str) -> String {
    if name != "profile.bt" {
        return text.to_owned();
    }
    let line = |line: &str| match line.strip_prefix("@hits: ") {
        Some(hits) => format!("@hits: {}", if hits.parse::<u64>().unwrap() > 0 { "some" } else { "none" }),
        None => line.to_owned(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn scripts_write_what_is_expected() {
    let scripts = scripts::folder("outputs");
    assert!(scripts.len() >= 29, "{} scripts", scripts.len());
    let bless = std::env::var_os("BLESS").is_some();
    let mut differences = Vec::new();
    for script in scripts {
        let text = settled(script.source.name(), &ours(&script).unwrap_or_else(|failure| failure));
        let expected = script.path.with_extension("out");
        if bless {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            differences.push(format!("{}:\n{text}", script.source.name()));
        }
    }
    assert!(differences.is_empty(), "unexpected outputs (BLESS=1 accepts them):\n{}", differences.join("\n"));
}

#[test]
#[ignore = "needs bpftrace 0.23: SYNSCOPE_BPFTRACE names a command that runs it"]
fn bpftrace_writes_the_same() {
    let bpftrace = std::env::var("SYNSCOPE_BPFTRACE").expect("SYNSCOPE_BPFTRACE");
    let version = Command::new(&bpftrace).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.starts_with("bpftrace v0.23"), "{version}");
    let mut differences = Vec::new();
    for script in scripts::folder("outputs") {
        if OURS_ONLY.contains(&script.source.name()) {
            continue;
        }
        let mut command = Command::new(&bpftrace);
        command.arg("-e").arg(script.source.text());
        let text = settled(script.source.name(), &output(command, &script).unwrap_or_else(|failure| failure));
        if std::fs::read_to_string(script.path.with_extension("out")).unwrap() != text {
            differences.push(format!("{}:\n{text}", script.source.name()));
        }
    }
    assert!(differences.is_empty(), "bpftrace writes something else:\n{}", differences.join("\n"));
}
