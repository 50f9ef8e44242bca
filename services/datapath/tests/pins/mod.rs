//! Things that outlive their process, for a test.

use std::path::{Path, PathBuf};

/// A folder on bpffs for a test's own pins, removed also when it fails.
pub(crate) struct Pins(pub(crate) PathBuf);

impl Pins {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Path::new("/sys/fs/bpf").join(format!("synscope-test-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("bpffs");
        Self(folder)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _it_was_removed = std::fs::remove_dir_all(&self.0);
    }
}
