//! What tests, labs and benches leave behind when they are killed: namespaces, pins, cgroups and guests' folders.
//!
//! Each carries a prefix of ours and the process's number, so nothing of anyone else's is touched, and nothing of a run
//! that still goes on.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::ebpf::root;
use crate::vm::boot;

/// Of namespaces and cgroups.
const NAMES: [&str; 2] = ["syn-t-", "syn-lab-"];
/// Of folders on bpffs.
const PINS: [&str; 3] = ["synscope-test-", "synscope-bench-", "syn-lab-"];

/// Where they are, absolute or below the workspace, how they begin, and how one is removed.
type Place = (&'static str, &'static [&'static str], fn(&Path) -> Result<()>);

const PLACES: [Place; 5] = [
    ("/run/netns", &NAMES, remove_namespace),
    ("/sys/fs/bpf", &PINS, |path| Ok(fs::remove_dir_all(path)?)),
    // Both versions.
    ("/sys/fs/cgroup", &NAMES, |path| Ok(fs::remove_dir(path)?)),
    ("/sys/fs/cgroup/memory", &NAMES, |path| Ok(fs::remove_dir(path)?)),
    ("target/vm", &[boot::RUN], |path| Ok(fs::remove_dir_all(path)?)),
];

/// Removes them all, and says which.
pub(crate) fn remove() -> Result<()> {
    for (folder, prefixes, remove) in PLACES {
        let entries = match fs::read_dir(root().join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.context(folder)?,
        };
        for entry in entries {
            let entry = entry.context(folder)?;
            if is_left_over(&entry.file_name().to_string_lossy(), prefixes, is_alive) {
                let path = entry.path();
                println!("removing {}, which a killed run left behind", path.display());
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
