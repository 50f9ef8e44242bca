//! What tests, labs and benches leave behind when they are killed: namespaces, pins, cgroups and folders.
//!
//! Each carries a prefix of ours and the process's number, so nothing of anyone else's is touched, and nothing of a run
//! that still goes on.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::cargo::root;
use crate::vm::boot;

/// Of namespaces, cgroups and temporary folders.
const NAMES: [&str; 2] = ["syn-t-", "syn-lab-"];
/// Of folders on bpffs.
const PINS: [&str; 3] = ["synscope-test-", "synscope-bench-", "syn-lab-"];

/// Where they are, how they begin, and how one is removed.
type Place = (PathBuf, &'static [&'static str], fn(&Path) -> Result<()>);

fn places() -> Vec<Place> {
    let folder = |path: &Path| Ok(fs::remove_dir_all(path)?);
    let mut places: Vec<Place> = vec![
        ("/run/netns".into(), &NAMES, remove_namespace),
        ("/sys/fs/bpf".into(), &PINS, folder),
        (root().join("target/vm"), &[boot::RUN], folder),
        (root().join("target/compose"), &NAMES, folder),
        (env::temp_dir(), &NAMES, folder),
    ];
    // Of the second version one tree, of the first one for each controller.
    let cgroups = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(cgroups).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let trees = below.filter(|path| path.is_dir()).chain([cgroups.to_owned()]);
    places.extend(trees.map(|tree| (tree, NAMES.as_slice(), remove_cgroup as fn(&Path) -> Result<()>)));
    places
}

/// A folder for all temporary files of tests that we start; removed with the value, or by [`remove`] if we are killed.
pub(crate) fn folder() -> Result<TempDir> {
    let prefix = format!("syn-t-{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir().with_context(|| env::temp_dir().display().to_string())
}

/// The folders that they are in.
pub(crate) fn folders() -> Vec<PathBuf> {
    places().into_iter().map(|(folder, ..)| folder).collect()
}

/// Removes them all, and says which.
pub(crate) fn remove() -> Result<()> {
    remove_where(|path, name, prefixes| {
        let left_over = is_left_over(name, prefixes, is_alive);
        if left_over {
            eprintln!("removing {}, which a killed run left behind", path.display());
        }
        left_over
    })
}

/// Removes what has exactly this name: of a run of our own that is over.
pub(crate) fn remove_of(name: &str) -> Result<()> {
    remove_where(|_path, found, _prefixes| found == name)
}

fn remove_where(is_to_go: impl Fn(&Path, &str, &[&str]) -> bool) -> Result<()> {
    for (folder, prefixes, remove) in places() {
        let what = || folder.display().to_string();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.with_context(what)?,
        };
        for entry in entries {
            let entry = entry.with_context(what)?;
            let path = entry.path();
            if is_to_go(&path, &entry.file_name().to_string_lossy(), prefixes) {
                remove(&path).with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(())
}

/// The number in a name is that of the process that made it.
fn is_left_over(name: &str, prefixes: &[&str], is_alive: impl Fn(u32) -> bool) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
        && !name.split('-').filter_map(|part| part.parse().ok()).any(is_alive)
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// With those inside; their files go with them.
fn remove_cgroup(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    Ok(fs::remove_dir(path)?)
}

fn remove_namespace(path: &Path) -> Result<()> {
    let name = path.file_name().context("a namespace has a name")?;
    let status = Command::new("ip").args(["netns", "del"]).arg(name).status().context("ip")?;
    ensure!(status.success(), "ip netns del ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_in_use_stays_and_is_found_when_its_process_is_no_more() {
        let ours = folder().unwrap();
        let name = ours.path().file_name().unwrap().to_string_lossy().into_owned();
        assert!(places().iter().any(|(place, ..)| Some(place.as_path()) == ours.path().parent()));
        assert!(!is_left_over(&name, &NAMES, is_alive) && is_left_over(&name, &NAMES, |_| false), "{name}");
    }

    #[test]
    fn only_what_is_ours_and_nobody_uses_any_more_is_left_over() {
        let alive = |pid| pid == 17;
        for (name, left_over) in [
            ("syn-t-adopt-25510-c", true),
            ("syn-t-adopt-17-c", false),
            ("syn-lab-99-order", true),
            ("syn-lab-17-order", false),
            ("cilium-99", false),
            ("my-syn-t-99", false),
        ] {
            assert_eq!(is_left_over(name, &NAMES, alive), left_over, "{name}");
        }
        assert!(is_left_over("synscope-bench-4", &PINS, alive) && !is_left_over("synscope", &PINS, alive));
    }
}
