//! Telling who asked for a change, and what came of it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::Method;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::audit::AuditEvent;
use synscope_bus::outbox::Outbox;
use synscope_bus::subject::{NodeId, Subject};

/// What may wait while NATS is away, bytes.
const WAITING: usize = 4 << 20;
/// Bytes of a request that are told.
const REQUEST_MAX: usize = 4096;

/// A request that was answered.
pub(crate) struct Asked<'a> {
    pub(crate) who: Option<String>,
    pub(crate) from: IpAddr,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) status: u16,
    pub(crate) problem: Option<String>,
}

/// Where it is told.
#[derive(Debug, Clone)]
pub struct Audit {
    node: String,
    outbox: Arc<Outbox>,
}

impl Audit {
    /// Sends what is told from now on.
    pub fn new(life: &Life, node: NodeId) -> Self {
        let name = node.as_str().to_owned();
        let outbox = Outbox::new(&Subject::Audit, PublisherId::begin(node), WAITING);
        life.send(&outbox);
        Self { node: name, outbox }
    }

    /// Tells of a request, to NATS and to the log.
    pub(crate) fn tell(&self, asked: Asked<'_>) {
        let Asked { who, from, method, path, status, problem, .. } = asked;
        tracing::info!(who, %from, %method, path, status, problem, "asked for a change");
        let event = AuditEvent {
            node: self.node.clone(),
            time_unix_ns: unix_now_ns(),
            who,
            from: from.to_canonical().to_string(),
            method: method.to_string(),
            path: path.to_owned(),
            request: text(asked.body),
            status,
            problem,
        };
        if let Err(error) = self.outbox.put(&event) {
            tracing::error!(%error, "an audit event could not be written");
        }
    }
}

/// The beginning of a request as text.
fn text(bytes: &[u8]) -> String {
    let beginning = bytes.get(..REQUEST_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(beginning).into_owned()
}
