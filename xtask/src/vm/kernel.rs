//! Debian's kernels, one per supported line, unpacked under `target/vm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::apt::{Suite, checked};
use crate::cargo::root;

/// A kernel line that synscope is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// Debian 11's.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12's.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's.
    #[value(name = "6.12")]
    V6_12,
    /// Debian 13's backports.
    #[value(name = "7.3")]
    V7_3,
}

impl Release {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_3 => "7.3",
        }
    }

    const fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::V7_3 => "trixie-backports",
        }
    }
}

/// The newest package of the suite; `cloud` kernels are small and have what a virtual machine needs.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// The compressed image.
    pub(crate) image: PathBuf,
    /// Its modules, uncompressed and indexed.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// Fetches the kernel unless it is there.
    pub(crate) fn fetch(release: Release) -> Result<Self> {
        let folder = root().join("target/vm").join(release.name());
        if !folder.exists() {
            println!("vm: fetching Debian's kernel {} ({})", release.name(), release.suite());
            // It gets its name when it is complete.
            let partial = folder.with_file_name(format!("{}.partial", release.name()));
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir_all(&partial)?;
            download(release, &partial).with_context(|| format!("Debian's kernel {} cannot be had", release.name()))?;
            fs::rename(&partial, &folder)?;
        }
        let folder = folder.canonicalize()?;
        let modules = only(&folder.join("lib/modules"))?;
        Ok(Self { image: folder.join("vmlinuz"), modules })
    }
}

fn download(release: Release, folder: &Path) -> Result<()> {
    let unpacked = folder.join("packages");
    let suite = Suite::open(release.suite())?;
    suite.unpack(&packages(&suite)?, &unpacked)?;
    arrange(&unpacked, folder)?;
    fs::remove_dir_all(&unpacked).with_context(|| unpacked.display().to_string())
}

/// The suite's kernel package and, where it is split, its parts.
fn packages(suite: &Suite) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut open = vec![PACKAGE.to_owned()];
    while let Some(package) = open.pop() {
        for needed in suite.depends(&package)? {
            if needed.starts_with("linux-") && needed.ends_with("-cloud-amd64") && !found.contains(&needed) {
                found.push(needed.clone());
                open.push(needed);
            }
        }
    }
    ensure!(!found.is_empty(), "{PACKAGE} names no kernel");
    Ok(found)
}

/// Puts image and modules where they are looked for: packages differ in that.
fn arrange(unpacked: &Path, folder: &Path) -> Result<()> {
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path));
    let modules = only(modules.iter().find(|path| path.exists()).context("no lib/modules")?)?;
    let release = modules.file_name().context("modules have no release")?.to_string_lossy().into_owned();
    let images = [unpacked.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = images.iter().find(|path| path.exists()).context("no vmlinuz")?;
    fs::copy(image, folder.join("vmlinuz"))?;
    let kept = folder.join("lib/modules").join(&release);
    fs::create_dir_all(folder.join("lib/modules"))?;
    fs::rename(&modules, &kept)?;
    let config = unpacked.join("boot").join(format!("config-{release}"));
    if config.exists() {
        fs::copy(config, kept.join("config"))?;
    }
    let mut packed = Vec::new();
    find_packed(&kept, &mut packed)?;
    if !packed.is_empty() {
        checked(Command::new("xz").arg("--decompress").args(&packed)).context("unpacking modules")?;
    }
    checked(Command::new("depmod").arg("-b").arg(folder).arg(&release)).context("indexing modules")
}

fn find_packed(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_packed(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "xz") {
            into.push(path);
        }
    }
    Ok(())
}

/// The only entry of a folder.
fn only(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let entry = entries.next().with_context(|| format!("{} is empty", folder.display()))??;
    Ok(entry.path())
}
