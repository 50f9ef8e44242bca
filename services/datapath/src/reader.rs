//! The thread that reads the event ring and sends what it says. It does nothing else, so that no record waits while
//! tables are swept, resized or listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use aya::maps::{MapData, RingBuf};
use synscope_abi::counter::Counter;

use crate::events::drain;
use crate::flow::WallClock;
use crate::kernel::{Counts, Kernel};
use crate::names::Directory;
use crate::publish::Publisher;

/// Longest wait of a record in the ring.
const TICK: Duration = Duration::from_millis(10);

/// What the reader tells of itself.
#[derive(Debug, Default)]
struct Told {
    edges_refused: AtomicU64,
    foreign: AtomicU64,
}

/// The running reader; it ends with what is in the ring when this is dropped or finished.
#[derive(Debug)]
pub struct Reader {
    told: Arc<Told>,
    stop: SyncSender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Reader {
    /// Takes the ring and starts.
    pub fn start(kernel: &mut Kernel, publisher: Publisher, names: Directory) -> Result<Self> {
        let told = Arc::new(Told::default());
        let (stop, stopped) = sync_channel(0);
        let reading = Reading {
            ring: kernel.take_events()?,
            counts: kernel.counts()?,
            publisher,
            names,
            told: Arc::clone(&told),
            foreign: 0,
        };
        let thread = thread::Builder::new().name("reader".to_owned()).spawn(move || reading.run(&stopped));
        Ok(Self { told, stop, thread: thread.context("cannot start a thread")? })
    }

    /// Whether it has ended by itself, which only an error makes it do.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Edges that were refused, and records that were not understood.
    pub fn counts(&self) -> (u64, u64) {
        (self.told.edges_refused.load(Ordering::Relaxed), self.told.foreign.load(Ordering::Relaxed))
    }

    /// Has it send what it holds, and end.
    pub fn finish(self) -> Result<()> {
        drop(self.stop);
        self.thread.join().map_err(|_panic| anyhow!("the reader's thread panicked"))?
    }
}

struct Reading {
    ring: RingBuf<MapData>,
    counts: Counts,
    publisher: Publisher,
    names: Directory,
    told: Arc<Told>,
    foreign: u64,
}

impl Reading {
    fn run(mut self, stopped: &Receiver<()>) -> Result<()> {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
            self.drain()?;
        }
        self.drain()?;
        self.publisher.finish();
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let clock = WallClock::read().context("the clocks")?;
        let publisher = &mut self.publisher;
        let names = self.names.read();
        let drained = drain(&mut self.ring, |record| publisher.take(record, &names, clock));
        drop(names);
        self.foreign += drained.foreign;
        publisher.tick(Instant::now(), self.counts.get(Counter::EventsLost)?);
        let (edges_refused, not_understood) = publisher.counts();
        self.told.edges_refused.store(edges_refused, Ordering::Relaxed);
        self.told.foreign.store(self.foreign + not_understood, Ordering::Relaxed);
        Ok(())
    }
}
