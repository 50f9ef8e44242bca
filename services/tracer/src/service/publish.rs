//! What a trace found, for whoever listens and for whoever asks later.

use std::collections::VecDeque;
use std::sync::Arc;

use synscope_bus::envelope::PublisherId;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::trace::{Line, TraceBatch, TraceLosses, TraceState};
use synscope_bus::outbox::Outbox;
use synscope_bus::snapshot::Snapshot;
use synscope_bus::subject::{Subject, TraceId};

/// What the outbox of a trace may hold while NATS is away.
const OUTBOX_BYTES: usize = 4 << 20;
/// Bytes of lines in one batch; NATS takes no message of more than 1 MiB.
const BATCH_BYTES: usize = 128 << 10;
/// Lines that are kept for whoever asks later.
const KEPT_LINES: usize = 1000;
/// Their bytes: an answer is one message.
const KEPT_BYTES: usize = 256 << 10;

/// The latest of what a trace found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The latest lines.
    pub(super) lines: VecDeque<Line>,
    bytes: usize,
    /// Lines in all.
    pub(super) count: u64,
    pub(super) maps: Vec<Snapshot>,
}

impl Found {
    /// Number of the first line that is kept, from 1.
    pub(super) fn first(&self) -> u64 {
        self.count - self.lines.len() as u64 + 1
    }

    fn keep(&mut self, lines: &[Line]) {
        self.count += lines.len() as u64;
        for line in lines {
            self.bytes += line.text.len();
            self.lines.push_back(line.clone());
        }
        while self.lines.len() > KEPT_LINES || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }
}

/// Publishes one trace's batches.
#[derive(Debug)]
pub(super) struct Publisher {
    trace: TraceId,
    node: String,
    outbox: Arc<Outbox>,
    found: Found,
}

impl Publisher {
    /// Of a new trace.
    pub(super) fn new(life: &Life, publisher: &PublisherId, trace: TraceId) -> Self {
        let subject = Subject::Trace(trace.clone(), publisher.node.clone());
        let outbox = Outbox::new(&subject, publisher.clone(), OUTBOX_BYTES);
        life.send(&outbox);
        Self { trace, node: publisher.node.to_string(), outbox, found: Found::default() }
    }

    /// Publishes what is new: in several batches, where it is much. The last one has the maps and the state.
    pub(super) fn publish(
        &mut self,
        state: &TraceState,
        lines: Vec<Line>,
        maps: Option<Vec<Snapshot>>,
        losses: TraceLosses,
    ) {
        let mut first = self.found.count + 1;
        self.found.keep(&lines);
        if let Some(maps) = &maps {
            self.found.maps.clone_from(maps);
        }
        let mut batch = |lines: Vec<Line>, maps, state: &TraceState| {
            let count = lines.len() as u64;
            let (node, trace, time_unix_ns) = (self.node.clone(), self.trace.to_string(), unix_now_ns());
            let batch = TraceBatch { node, trace, time_unix_ns, state: state.clone(), first, lines, maps, losses };
            first += count;
            if let Err(error) = self.outbox.put(&batch) {
                tracing::error!(trace = %self.trace, %error, "a batch cannot be written");
            }
        };
        let (mut some, mut bytes) = (Vec::new(), 0);
        for line in lines {
            if bytes > BATCH_BYTES {
                batch(std::mem::take(&mut some), None, &TraceState::Running);
                bytes = 0;
            }
            bytes += line.text.len();
            some.push(line);
        }
        // Maps have a message of their own where lines take one.
        if maps.is_some() && !some.is_empty() {
            batch(std::mem::take(&mut some), None, &TraceState::Running);
        }
        batch(some, maps, state);
    }

    /// What was found so far.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}
