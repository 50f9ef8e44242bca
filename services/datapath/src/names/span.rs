//! What addresses were called, and when.

use std::sync::Arc;

use synscope_bus::message::flow::Vantage;

/// A name that an address has or had.
#[derive(Debug)]
pub struct Span {
    pub(super) from_unix_ns: u64,
    /// `u64::MAX` as long as it lasts.
    pub(super) until_unix_ns: u64,
    pub(super) workload: Arc<str>,
    pub(super) is_local: bool,
}

impl Span {
    /// The workload.
    pub const fn workload(&self) -> &Arc<str> {
        &self.workload
    }
}

/// Both ends of a connection, as they were called when it began.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Who opened it.
    pub client: Option<&'a Span>,
    /// To whom.
    pub server: Option<&'a Span>,
}

impl Ends<'_> {
    /// From where this node sees the connection. Both ends here: the client's side, which sees all of it.
    pub fn vantage(&self) -> Vantage {
        let local = |end: Option<&Span>| end.is_some_and(|span| span.is_local);
        if local(self.client) {
            Vantage::Client
        } else if local(self.server) {
            Vantage::Server
        } else {
            Vantage::Transit
        }
    }

    /// Which of the names that the addresses had these are: another number is another name.
    pub fn generation(&self) -> [u64; 2] {
        [self.client, self.server].map(|end| end.map_or(u64::MAX, |span| span.from_unix_ns))
    }
}
