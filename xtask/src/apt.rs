//! Debian packages: installed on this machine, or taken from another suite without touching its sources.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::root;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// Installs packages on this machine.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    checked(Command::new("apt-get").args(["-qq", "update"]))?;
    checked(Command::new("apt-get").args(["-qq", "install", "-y", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("install {} by hand", packages.join(", ")))
}

/// A suite of Debian seen through an apt configuration of its own, so that the machine's sources stay as they are.
pub(crate) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Reads the suite's package lists from the mirror.
    pub(crate) fn open(suite: &str) -> Result<Self> {
        let folder = root().join("target/apt").join(suite);
        for part in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(folder.join(part)).with_context(|| folder.display().to_string())?;
        }
        let suite_line = format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror());
        let folder = folder.canonicalize()?;
        fs::write(folder.join("sources.list"), suite_line)?;
        if !Path::new(KEYRING).exists() {
            install(&["debian-archive-keyring"])?;
        }
        let opened = Self { folder };
        checked(opened.apt("apt-get").args(["-qq", "update"]))
            .with_context(|| format!("Debian's package lists of {suite} cannot be had"))?;
        Ok(opened)
    }

    /// Downloads packages (a name, or `name=version`) and unpacks them into a folder.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let work = self.folder.join("downloads");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        checked(self.apt("apt-get").args(["-qq", "download"]).args(packages).current_dir(&work))?;
        for entry in fs::read_dir(&work)? {
            checked(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(into))?;
        }
        fs::remove_dir_all(&work).with_context(|| work.display().to_string())
    }

    /// Names of the packages that a package needs.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let shown = output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?;
        Ok(depends_of(&shown))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, path) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "parts"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.folder.join(path).display()));
        }
        // Neither translations nor the catalogue for graphical shops; and root may write where `_apt` may not.
        command.args([
            "-o",
            "Acquire::Languages=none",
            "-o",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ]);
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }
}

/// The `Depends` field of a package's record; of alternatives, the first.
fn depends_of(record: &str) -> Vec<String> {
    record
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))
        .unwrap_or_default()
        .split(", ")
        .filter_map(|dependency| dependency.split([' ', '(', '|', ':']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The Debian mirror of the machine's own apt sources.
pub(crate) fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.filter_map(Result::ok).map(|entry| entry.path()));
    }
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n");
    mirror_of(&texts).unwrap_or(DEFAULT_MIRROR).to_owned()
}

fn mirror_of(sources: &str) -> Option<&str> {
    sources
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
}

/// Whether a program of this name can be run.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
}

/// Runs a command that must succeed. What it says goes to standard error: standard output is for our own result.
pub(crate) fn checked(command: &mut Command) -> Result<()> {
    command.stdout(io::stderr());
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "{} {status}", command.get_program().display());
    Ok(())
}

/// What a command that must succeed prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{} {}", command.get_program().display(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_what_it_needs() {
        let record = "Package: linux-image-7.3.4+deb13-cloud-amd64\n\
            Depends: dracut | linux-initramfs-tool, linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), kmod\n\
            Recommends: apparmor\n";
        assert_eq!(depends_of(record), ["dracut", "linux-binary-7.3.4+deb13-cloud-amd64", "kmod"]);
        assert!(depends_of("Package: linux-base\n").is_empty());
    }

    #[test]
    fn the_mirror_is_the_machines_own() {
        let sources =
            "# deb http://old.example/debian x main\nURIs: https://mirror.example/debian/\nSuites: bookworm\n";
        assert_eq!(mirror_of(sources), Some("https://mirror.example/debian/"));
        assert_eq!(mirror_of("deb http://mirror.example/debian-security x main"), None);
    }
}
