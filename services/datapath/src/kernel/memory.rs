//! Whether a table fits into memory, asked before the kernel is.
//!
//! The kernel charges a table to the cgroup of the process that makes it. Where that has a limit, asking for too much is
//! not only refused: while the kernel tries, a page fault of the same process finds nothing left either, and the OOM
//! killer ends it. And a table whose buckets fit, but not its entries, fails later, at the worst time.

use std::path::{Path, PathBuf};
use std::{fs, iter};

/// Sizes of what `kmalloc` hands out (`mm/slab_common.c`), as far as an element can be.
const KMALLOC_BYTES: [u64; 8] = [96, 128, 192, 256, 512, 1024, 2048, 4096];
/// `struct bucket` (`kernel/bpf/hashtab.c`): a list head and a lock.
const BUCKET_BYTES: u64 = 16;
/// `struct htab_elem` before its key (the same file).
const ELEMENT_BYTES: u64 = 48;
/// What the allocator of map elements puts before each (`kernel/bpf/memalloc.c`, `LLIST_NODE_SZ`).
const FREE_LIST_BYTES: u64 = 8;

/// Bytes of one entry of a hash table without preallocation.
pub(super) fn of_entry(key_bytes: usize, value_bytes: usize) -> u64 {
    let aligned = |bytes: usize| bytes.next_multiple_of(8) as u64;
    let bytes = ELEMENT_BYTES + aligned(key_bytes) + aligned(value_bytes) + FREE_LIST_BYTES;
    KMALLOC_BYTES.into_iter().find(|size| *size >= bytes).unwrap_or(bytes)
}

/// Bytes of the buckets of a hash table.
pub(super) fn of_buckets(entries: u32) -> u64 {
    u64::from(entries).next_power_of_two() * BUCKET_BYTES
}

/// Bytes that this process may still take: the least that the machine and each cgroup above us has left. None where
/// nothing says.
pub(super) fn left() -> Option<u64> {
    left_below(Path::new("/"))
}

fn left_below(root: &Path) -> Option<u64> {
    let available = field(&root.join("proc/meminfo"), "MemAvailable:").map(|kib| kib * 1024);
    available.into_iter().chain(cgroups(root).iter().filter_map(|folder| left_in(folder))).min()
}

/// The folders of our memory cgroup and those above it, of the version that is in use.
fn cgroups(root: &Path) -> Vec<PathBuf> {
    let ours = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut folders = Vec::new();
    for line in ours.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mount = match controllers {
            "" => root.join("sys/fs/cgroup"),
            list if list.split(',').any(|name| name == "memory") => root.join("sys/fs/cgroup/memory"),
            _ => continue,
        };
        let folder = mount.join(path.trim_start_matches('/'));
        folders.extend(
            iter::successors(Some(folder.as_path()), |folder| folder.parent())
                .take_while(|folder| folder.starts_with(&mount))
                .map(Path::to_path_buf),
        );
    }
    folders
}

/// What a cgroup has left below its limit; none where it has no limit. File pages not in use make room.
fn left_in(folder: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used, reclaimable) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?, "inactive_file"),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?, "total_inactive_file"),
    };
    let used = used.saturating_sub(field(&folder.join("memory.stat"), reclaimable).unwrap_or(0));
    Some(limit.saturating_sub(used))
}

/// The number after a name that begins a line.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_closest_limit_above_us_holds() {
        let root = machine(&[
            ("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n"),
            ("proc/self/cgroup", "0::/pods/ours\n"),
            ("sys/fs/cgroup/pods/memory.max", "1000000\n"),
            ("sys/fs/cgroup/pods/memory.current", "900000\n"),
            ("sys/fs/cgroup/pods/memory.stat", "anon 5\ninactive_file 50000\n"),
            ("sys/fs/cgroup/pods/ours/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/ours/memory.current", "800000\n"),
        ]);
        assert_eq!(left_below(root.path()), Some(150_000));
    }

    #[test]
    fn the_first_version_of_cgroups_is_read_too() {
        let root = machine(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "4096\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "8192\n"),
            ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "16384\n"),
        ]);
        assert_eq!(left_below(root.path()), Some(0));
    }

    #[test]
    fn a_machine_that_says_nothing_has_no_limit_that_we_know() {
        assert_eq!(left_below(machine(&[]).path()), None);
        let root = machine(&[("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")]);
        assert_eq!(left_below(root.path()), Some(5000 * 1024));
    }

    #[test]
    fn an_entry_takes_what_the_allocator_hands_out() {
        assert_eq!((of_entry(16, 88), of_entry(40, 88), of_entry(40, 128)), (192, 192, 256));
        assert_eq!(of_buckets(1_000_000), (1 << 20) * 16);
    }
}
