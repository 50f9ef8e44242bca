//! A Docker engine and its base image, from Debian's packages: unpacked into `target/docker`, so that none is installed
//! and none started on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::{self, Suite, checked, on_path};
use crate::cargo::root;
use crate::setup;

/// Suites, and what is taken of them. Debian 13's runc wants a newer libc than Debian 12 has; its engine does not.
const PACKAGES: [(&str, &[&str]); 2] =
    [("trixie", &["docker.io", "docker-cli", "docker-compose", "containerd"]), ("bookworm", &["runc"])];
const BASE_SUITE: &str = "bookworm";
/// What the slim image of Debian's lacks, too.
const FAT: [&str; 6] =
    ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists"];

/// The folder with the engine's programs.
pub(crate) fn engine() -> Result<PathBuf> {
    // Docker sets up names in each container's namespace with it.
    for program in ["iptables", "debootstrap"] {
        if !on_path(program) {
            setup::say(&format!("installing {program}: the Docker engine of the test needs it"));
            apt::install(&[program])?;
        }
    }
    let folder = folder()?.join("engine");
    if !folder.exists() {
        setup::say("unpacking a Docker engine into target/docker: images cannot be built without");
        // It gets its name when it is complete.
        let partial = emptied(&folder.with_extension("partial"))?;
        for (suite, packages) in PACKAGES {
            Suite::open(suite)?.unpack(&packages.iter().map(ToString::to_string).collect::<Vec<_>>(), &partial)?;
        }
        fs::rename(&partial, &folder)?;
    }
    Ok(folder)
}

/// A file system that stands for `debian:bookworm-slim`, as an archive.
pub(crate) fn base() -> Result<PathBuf> {
    let archive = folder()?.join("bookworm-slim.tar");
    if !archive.exists() {
        setup::say("making Debian's base image with debootstrap: it cannot be pulled");
        let tree = emptied(&archive.with_extension("tree"))?;
        // What it mounts ends with its namespace, however it ends.
        checked(
            Command::new("unshare")
                .args(["--mount", "debootstrap", "--variant=minbase", BASE_SUITE])
                .arg(&tree)
                .arg(apt::mirror()),
        )?;
        for fat in FAT {
            fs::remove_dir_all(tree.join(fat)).with_context(|| fat.to_owned())?;
        }
        let partial = archive.with_extension("partial");
        checked(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&partial).arg("."))?;
        fs::remove_dir_all(&tree)?;
        fs::rename(&partial, &archive)?;
    }
    Ok(archive)
}

fn folder() -> Result<PathBuf> {
    let folder = root().join("target/docker");
    fs::create_dir_all(&folder)?;
    folder.canonicalize().with_context(|| folder.display().to_string())
}

fn emptied(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(folder.to_owned())
}
