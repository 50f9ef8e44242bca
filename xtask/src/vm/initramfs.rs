//! The guest's first file system: busybox, the modules it takes to reach the shared folder, and the init.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::kernel::Kernel;

const INIT: &str = include_str!("guest-init");
/// What the guest needs before it sees the host's files; where they are built into the kernel, there is no module.
const BOOT_MODULES: [&str; 3] = ["virtio_pci", "virtio_console", "virtiofs"];
const BUSYBOX: &str = "/usr/bin/busybox";
/// Programs of busybox that the init calls, and what the kernel calls to load modules.
const APPLETS: [&str; 13] =
    ["sh", "mount", "insmod", "mkdir", "ln", "uname", "ip", "grep", "sleep", "cp", "chroot", "poweroff", "modprobe"];
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// Major and minor number of `/dev/console`.
const CONSOLE: (u32, u32) = (5, 1);

/// The archive, uncompressed: the emulated processor would need longer to unpack it than to copy it.
///
/// `settings` and `command` are shell texts that the init reads.
pub(crate) fn build(kernel: &Kernel, settings: &str, command: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "sbin", "boot-modules", "dev", "proc", "sys", "share", "root"] {
        archive.entry(folder, FOLDER, &[]);
    }
    // What the init itself says goes there.
    archive.device("dev/console", CONSOLE);
    let busybox = ["/bin/busybox", BUSYBOX].into_iter().find_map(|path| fs::read(path).ok());
    archive.entry("bin/busybox", PROGRAM, &busybox.context("no busybox")?);
    for applet in APPLETS {
        archive.entry(&format!("bin/{applet}"), LINK, b"busybox");
    }
    archive.entry("sbin/modprobe", LINK, b"../bin/busybox");
    for (place, path) in load_order(&kernel.modules)?.iter().enumerate() {
        let module = fs::read(kernel.modules.join(path)).with_context(|| path.clone())?;
        archive.entry(&format!("boot-modules/{place:02}.ko"), PROGRAM, &module);
    }
    archive.entry("init", PROGRAM, INIT.as_bytes());
    archive.entry("settings", PROGRAM, settings.as_bytes());
    archive.entry("command", PROGRAM, command.as_bytes());
    Ok(archive.finish())
}

/// Paths of the modules to load, each after those it needs.
fn load_order(modules: &Path) -> Result<Vec<String>> {
    let read = |name: &str| fs::read_to_string(modules.join(name)).with_context(|| format!("the kernel's {name}"));
    order(&read("modules.dep")?, &read("modules.builtin")?)
}

fn order(depends: &str, builtin: &str) -> Result<Vec<String>> {
    let mut ordered: Vec<String> = Vec::new();
    for name in BOOT_MODULES {
        let is_it = |path: &str| path.rsplit('/').next() == Some(&format!("{name}.ko"));
        if builtin.lines().any(is_it) {
            continue;
        }
        let found = depends.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| is_it(path));
        ensure!(found.is_some(), "this kernel has no {name}, and the host's files are shared by nothing else");
        let Some((path, needs)) = found else { continue };
        // `modules.dep` lists what a module needs, farthest last.
        for part in needs.split_whitespace().rev().chain([path]) {
            if !ordered.iter().any(|have| have == part) {
                ordered.push(part.to_owned());
            }
        }
    }
    Ok(ordered)
}

/// A cpio archive in the kernel's format (Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.add(name, mode, (0, 0), content);
    }

    fn device(&mut self, name: &str, number: (u32, u32)) {
        self.add(name, CHARACTER_DEVICE, number, &[]);
    }

    fn add(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        // Inode, mode, user, group, links, time, size, device (2), number of a device node (2), length of name,
        // checksum.
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend_from_slice(fields.map(|field| format!("{field:08x}")).concat().as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDS: &str = "kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko\n\
        kernel/fs/fuse/fuse.ko:\nkernel/drivers/virtio/virtio.ko:\n";

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let ordered = order(DEPENDS, "kernel/drivers/char/virtio_console.ko\n").unwrap();
        let names: Vec<_> = ordered.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["virtio.ko", "virtio_pci.ko", "fuse.ko", "virtiofs.ko"]);
    }

    #[test]
    fn a_kernel_without_the_shared_folder_is_refused_by_name() {
        let refused = order("", "kernel/x/virtio_pci.ko\nkernel/x/virtio_console.ko\n").unwrap_err();
        assert!(refused.to_string().contains("virtiofs"), "{refused}");
    }

    #[test]
    fn an_archive_is_what_cpio_would_write() {
        let mut archive = Archive::default();
        archive.entry("ab", PROGRAM, b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"070701000000010000"));
        assert_eq!(&bytes[110..124], b"ab\0\0\0\x0012345\0\0\0");
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
