//! A signal to the tracer that a script has a probe at (`self:signal:SIGUSR1`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::SIGUSR1;

/// Waits for the signal as long as this is there.
#[derive(Debug)]
pub(super) struct Waiting {
    came: Arc<AtomicBool>,
    id: SigId,
}

impl Waiting {
    pub(super) fn new() -> io::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let id = signal_hook::flag::register(SIGUSR1, Arc::clone(&came))?;
        Ok(Self { came, id })
    }

    /// Whether it came since this was last asked; several at once are one.
    pub(super) fn came(&self) -> bool {
        self.came.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.id);
    }
}
