//! From the streams to the engine.

use synscope_bus::inbox::Inbox;
use synscope_bus::life::Life;
use synscope_bus::message::{Message, edge::EdgeBatch, signal::NodeSignals, trace::TraceBatch};
use synscope_bus::reader::{Reader, Told};
use synscope_bus::streams::Stream;
use tokio::sync::mpsc;

/// What comes from the streams, and from probes.
pub(super) enum Input {
    Edges(EdgeBatch),
    /// And when the server had them, Unix ns.
    Signals(Box<NodeSignals>, u64),
    /// What a probe tells on one node.
    Trace(Box<TraceBatch>),
    /// A probe does not run on a node, or not any more.
    NoTrace {
        /// The trace.
        trace: String,
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// A stream has been read up to what was there at the start.
    CaughtUp,
}

/// Begins to read; how many streams will be caught up with.
pub(super) fn start(life: &Life, tell: &mpsc::Sender<Input>) -> usize {
    tokio::spawn(read(life.clone(), Stream::Edges, tell.clone(), |batch, _| Input::Edges(batch)));
    tokio::spawn(read(life.clone(), Stream::Signals, tell.clone(), |signals, stored| {
        Input::Signals(Box::new(signals), stored)
    }));
    2
}

/// Hands a stream's messages over, with the times when the server stored them, for as long as anyone takes them.
async fn read<M: Message>(life: Life, stream: Stream, tell: mpsc::Sender<Input>, make: impl Fn(M, u64) -> Input) {
    let mut reader = Reader::new(life.connection().clone(), stream, None);
    let mut inbox = Inbox::default();
    loop {
        let input = match reader.next().await {
            Told::Readable => {
                life.recover(stream.name());
                continue;
            }
            Told::Message(message, stored_unix_ns) => match inbox.read::<M>(&message) {
                Some(received) => make(received.message, stored_unix_ns),
                None => continue,
            },
            Told::CaughtUp => Input::CaughtUp,
            Told::Unreadable(why) => {
                life.degrade(stream.name(), format!("cannot be read: {why}"));
                continue;
            }
        };
        if tell.send(input).await.is_err() {
            return;
        }
    }
}
