//! Maps that outlive their process, for a test.

use std::path::{Path, PathBuf};

/// Pins of a test's own, removed also when it fails.
pub(crate) struct Pins(pub(crate) PathBuf);

impl Pins {
    pub(crate) fn new(name: &str) -> Self {
        Self(Path::new("/sys/fs/bpf").join(format!("synscope-test-{name}-{}", std::process::id())))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _nothing_pinned = std::fs::remove_dir_all(&self.0);
    }
}
