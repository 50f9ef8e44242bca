//! A packet that passes a place, and what comes of it.

use crate::event::EventKind;
use crate::flow::Endpoint;

/// A packet as conntrack sees it: parsed, and where it passed.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags, zero for anything else.
    pub tcp_flags: u8,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// Endpoint of the flow's key that sent it.
    pub from: Endpoint,
    /// Interface it passes.
    pub ifindex: u32,
    /// 0 when it comes in through that interface, 1 when it goes out.
    pub hook: u8,
    /// Segments it stands for (`gso_segs`), at least 1.
    pub segments: u32,
    /// Its length in bytes as the device sees it.
    pub bytes: u32,
    /// Now, in jiffies.
    pub jiffies: u64,
    /// [`crate::settings::Settings::heartbeat_shift`].
    pub heartbeat_shift: u32,
}

/// What came of a packet that found its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Counted; nothing to tell.
    Counted,
    /// Counted, and worth an event.
    Event(EventKind),
    /// The entry belongs to another interface: nothing was counted here.
    Elsewhere,
    /// The first segment of a new connection over the same five-tuple: the entry is to begin anew. The event, if any,
    /// tells what became of the old one.
    Anew(Option<EventKind>),
    /// The SYN of another connection over the five-tuple of one that may be alive: it is to be remembered, and nothing
    /// was counted here.
    Waits,
    /// A SYN-ACK to another SYN than the entry's. If such a SYN waits, the entry is to begin anew, and what became of the
    /// old connection is [`EventKind::Abandoned`]; else it is stray. Nothing was counted here.
    Answers,
    /// A SYN-ACK to a SYN that is not known: nothing was counted here.
    Stray,
}
