//! A process that makes system calls, for probes that are hit often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// System calls, one after the other, until it goes.
pub(crate) struct Busy(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Busy {
    pub(crate) fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let work = move || {
            while !seen.load(Ordering::Relaxed) {
                assert!(nix::unistd::getppid().as_raw() > 0);
            }
        };
        Self(stop, Some(std::thread::spawn(work)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}
