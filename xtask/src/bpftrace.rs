//! Debian 13's bpftrace 0.23, which the tracer is compared with: unpacked with its libraries and its loader, so that it
//! runs on any Debian or Ubuntu, and in guests, and nothing is installed.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::apt::Suite;
use crate::cargo::root;

const SUITE: &str = "trixie";
const PACKAGE: &str = "bpftrace";
/// What is started: the loader, told where the libraries are.
const COMMAND: &str = r#"#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
libraries=$here/root/usr/lib/x86_64-linux-gnu
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$here/root/usr/bin/bpftrace" "$@"
"#;

/// Fetches it unless it is there; gives the command that runs it.
pub(crate) fn prepare() -> Result<PathBuf> {
    ensure!(env::consts::ARCH == "x86_64", "bpftrace is fetched for x86_64 only, this is {}", env::consts::ARCH);
    let folder = root().join("target/bpftrace");
    if !folder.exists() {
        eprintln!("bpftrace: fetching Debian's, with its libraries ({SUITE})");
        // It gets its name when it is complete.
        let partial = folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        download(&partial).context("Debian's bpftrace cannot be had")?;
        fs::rename(&partial, &folder)?;
    }
    Ok(folder.canonicalize()?.join(PACKAGE))
}

fn download(folder: &Path) -> Result<()> {
    let suite = Suite::open(SUITE)?;
    suite.unpack(&with_all_it_needs(&suite)?, &folder.join("root"))?;
    let command = folder.join(PACKAGE);
    fs::write(&command, COMMAND)?;
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).with_context(|| command.display().to_string())
}

fn with_all_it_needs(suite: &Suite) -> Result<Vec<String>> {
    let mut found = vec![PACKAGE.to_owned()];
    let mut next = 0;
    while let Some(package) = found.get(next) {
        for needed in suite.depends(package)? {
            if !found.contains(&needed) {
                found.push(needed);
            }
        }
        next += 1;
    }
    Ok(found)
}
