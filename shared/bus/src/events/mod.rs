//! Every event, described for those who subscribe from outside: as an `AsyncAPI` document and as a page for people.

mod asyncapi;
mod page;

use schemars::{Schema, SchemaGenerator};

use crate::message::Message;
use crate::message::audit::AuditEvent;
use crate::message::edge::EdgeBatch;
use crate::message::flow::FlowBatch;
use crate::message::incident::Incident;
use crate::message::signal::NodeSignals;
use crate::message::trace::TraceBatch;
use crate::streams::Stream;
use crate::subject::Wildcard;

pub use asyncapi::document;
pub use page::page;

/// One kind of event.
struct Event {
    /// What to subscribe to.
    subjects: Wildcard,
    /// What the wildcards of the subject stand for, in order.
    parameters: &'static [&'static str],
    /// What it tells, in a sentence.
    about: &'static str,
    /// The stream that keeps it; none for what passes by.
    stream: Option<Stream>,
    schema_name: &'static str,
    schema_version: u16,
    schema: fn(&mut SchemaGenerator) -> Schema,
    /// One as JSON, from the files that pin the messages' bytes.
    example: &'static str,
}

impl Event {
    const fn of<M: Message>(
        subjects: Wildcard,
        parameters: &'static [&'static str],
        stream: Option<Stream>,
        about: &'static str,
        example: &'static str,
    ) -> Self {
        let schema = SchemaGenerator::subschema_for::<M>;
        let (schema_name, schema_version) = (M::SCHEMA, M::VERSION);
        Self { subjects, parameters, about, stream, schema_name, schema_version, schema, example }
    }

    /// The subject's second token, which names the event.
    fn name(&self) -> String {
        self.subjects.to_string().split('.').nth(1).unwrap_or_default().to_owned()
    }

    /// The subject with names for its wildcards: `synscope.flow.{node}`.
    fn address(&self) -> String {
        let mut parameters = self.parameters.iter();
        let named = |token: &str| match token {
            "*" => parameters.next().map_or_else(String::new, |name| format!("{{{name}}}")),
            token => token.to_owned(),
        };
        self.subjects.to_string().split('.').map(named).collect::<Vec<_>>().join(".")
    }
}

const EVENTS: [Event; 7] = [
    Event::of::<FlowBatch>(
        Wildcard::Flows,
        &["node"],
        None,
        "What happened to the connections of a node, all of it.",
        include_str!("../../golden/flow.json"),
    ),
    Event::of::<FlowBatch>(
        Wildcard::Slows,
        &["node"],
        Some(Stream::Slows),
        "Of these the evidence: slow, retried, refused and failed connections.",
        include_str!("../../golden/flow.json"),
    ),
    Event::of::<EdgeBatch>(
        Wildcard::Edges,
        &["shard", "node"],
        Some(Stream::Edges),
        "Counts and latencies per pair of workloads and ten seconds, as a node saw them.",
        include_str!("../../golden/edge.json"),
    ),
    Event::of::<NodeSignals>(
        Wildcard::Signals,
        &["node"],
        Some(Stream::Signals),
        "What the kernel of a node tells about tables, drops, queues and pressure, each second.",
        include_str!("../../golden/signal.json"),
    ),
    Event::of::<Incident>(
        Wildcard::Incidents,
        &["kind"],
        Some(Stream::Incidents),
        "An incident, each time it changes: what is slow, how often, why, and what helps.",
        include_str!("../../golden/incident.json"),
    ),
    Event::of::<TraceBatch>(
        Wildcard::Traces,
        &["trace", "node"],
        None,
        "What a trace tells on a node: lines as they come, its maps each second, and why it ended.",
        include_str!("../../golden/trace.json"),
    ),
    Event::of::<AuditEvent>(
        Wildcard::Audit,
        &[],
        Some(Stream::Audit),
        "Who asked the API for a change, and what came of it.",
        include_str!("../../golden/audit.json"),
    ),
];

/// What a wildcard of a subject stands for.
fn meaning(parameter: &str) -> &'static str {
    match parameter {
        "node" => "The node that speaks.",
        "shard" => "`p00` to `p15`: a hash of the edge, so that readers can share the work.",
        "trace" => "The trace; the same on all its nodes.",
        _ => "The incident's kind; once its cause is known, the cause's name.",
    }
}

/// Headers that every message has, and what they say.
const HEADERS: [(&str, &str); 5] = [
    (crate::envelope::SCHEMA_HEADER, "The payload's schema and its version, such as `flow/1`."),
    (crate::envelope::NODE_HEADER, "The node that speaks."),
    (crate::envelope::PUBLISHER_HEADER, "The publisher, `<node>.<boot nonce in hex>`: another one after each start."),
    (
        crate::envelope::SEQUENCE_HEADER,
        "The message's number, from 1, per publisher and subject. A number that never comes is a message that was \
         lost; one that comes twice is the same message.",
    ),
    (crate::envelope::CONTENT_TYPE_HEADER, "`application/msgpack`."),
];
