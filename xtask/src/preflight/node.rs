//! Reading the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::on_path;

/// What was found, undecided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Release of the kernel as it names itself.
    pub(super) release: String,
    /// Its major and minor number.
    pub(super) version: (u32, u32),
    /// The kernel's own BTF.
    pub(super) btf: bool,
    /// Types of the file systems mounted, with their places.
    pub(super) mounts: Vec<(String, String)>,
    /// Text of `/sys/kernel/security/lockdown`.
    pub(super) lockdown: Option<String>,
    /// `net.core.bpf_jit_enable`.
    pub(super) jit: Option<String>,
    /// The most memory that may be locked, bytes; none = no limit.
    pub(super) memlock: Option<u64>,
    /// Effective capabilities, as bits.
    pub(super) capabilities: u64,
    /// Pressure stall information can be read.
    pub(super) pressure: bool,
    /// Entries in the kernel's connection table, and its maximum; none = it is not loaded.
    pub(super) conntrack: Option<(u64, u64)>,
    /// Its counters can be read, from `/proc` or by the `conntrack` tool.
    pub(super) conntrack_counters: bool,
    /// Interfaces but the loopback, or why they are not known.
    pub(super) interfaces: Vec<Interface>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// Name of its driver; none when it cannot be told.
    pub(super) driver: Option<String>,
}

impl Node {
    pub(super) fn read() -> Result<Self> {
        let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
        let version = version(&release).with_context(|| format!("kernel release {release}"))?;
        let limits = fs::read_to_string("/proc/self/limits").context("/proc/self/limits")?;
        let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
        let table = |name: &str| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
        Ok(Self {
            version,
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            mounts: mounts(&fs::read_to_string("/proc/mounts").context("/proc/mounts")?),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown").ok(),
            jit: fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok().map(|text| text.trim().to_owned()),
            memlock: memlock(&limits),
            capabilities: capabilities(&status).context("CapEff of /proc/self/status")?,
            // Opened, because the files are there even where the kernel was told not to count.
            pressure: fs::read_to_string("/proc/pressure/cpu").is_ok(),
            conntrack: table("count").zip(table("max")),
            conntrack_counters: Path::new("/proc/net/stat/nf_conntrack").exists() || on_path("conntrack"),
            interfaces: interfaces()?,
            release,
        })
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Major and minor number of a release such as `6.12.117+deb13-cloud-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|sign: char| !sign.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn mounts(text: &str) -> Vec<(String, String)> {
    let mount = |line: &str| {
        let mut words = line.split_whitespace().skip(1).map(str::to_owned);
        let place = words.next()?;
        Some((words.next()?, place))
    };
    text.lines().filter_map(mount).collect()
}

fn capabilities(status: &str) -> Option<u64> {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

/// The hard limit on locked memory, bytes.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn interfaces() -> Result<Vec<Interface>> {
    let kinds = Command::new("ip").args(["-json", "-details", "link"]).output().ok();
    let kinds = kinds.and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/net").context("/sys/class/net")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Not an interface: a file of the bonding driver.
        if name == "lo" || name == "bonding_masters" {
            continue;
        }
        let hardware = fs::read_link(entry.path().join("device/driver")).ok();
        let hardware = hardware.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        found.push(Interface { driver: hardware.or_else(|| kind(&kinds, &name)), name });
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

/// What kind of software device an interface is, from `ip -json -details link`.
fn kind(links: &serde_json::Value, name: &str) -> Option<String> {
    let link = links.as_array()?.iter().find(|link| link["ifname"] == name)?;
    link["linkinfo"]["info_kind"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_versions() {
        assert_eq!(version("6.12.117+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("5.10-rc1"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn mounts_are_read_with_their_places() {
        let found = mounts("bpf /sys/fs/bpf bpf rw 0 0\nbroken\nnone /sys/fs/cgroup cgroup2 rw 0 0\n");
        let expected = [("bpf", "/sys/fs/bpf"), ("cgroup2", "/sys/fs/cgroup")];
        assert_eq!(found, expected.map(|(kind, place)| (kind.to_owned(), place.to_owned())));
    }

    #[test]
    fn capabilities_are_bits() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn the_hard_limit_counts() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax locked memory  65536  8388608  bytes\n";
        assert_eq!(memlock(limits), Some(8 << 20));
        assert_eq!(memlock("Max locked memory  unlimited  unlimited  bytes\n"), None);
    }

    #[test]
    fn software_devices_say_their_kind() {
        let links = serde_json::json!([{"ifname": "v", "linkinfo": {"info_kind": "veth"}}, {"ifname": "eth0"}]);
        assert_eq!(kind(&links, "v").as_deref(), Some("veth"));
        assert_eq!(kind(&links, "eth0"), None);
    }
}
