//! Who may say and hear what on NATS. What is not listed is refused by the server.
//!
//! Each program has a key of its own, and each node: one node cannot speak for another. Answers go to an inbox that no
//! other program may listen to. Who answers a question may say so once, to the inbox that the question named.
//!
//! The server delivers to wherever a consumer says, whoever made the consumer, and republishes to wherever a stream says.
//! So nodes make no streams ([`crate::streams::keep_made`] does), and whoever listens looks at a message's own subject, which
//! delivering does not change.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::command::tracer::{RenewTrace, StartProbe, StopTrace};
use crate::command::{Command, HEALTH};
use crate::streams::{Bucket, Stream};
use crate::subject::{NodeId, ROLL_CALL, ServiceName, Wildcard};

/// What the nodes' datapaths measure.
const MEASURED: [Stream; 3] = [Stream::Slows, Stream::Edges, Stream::Signals];

/// What may be heard by who only listens: all but who asked for changes.
const EVENTS: [Wildcard; 6] =
    [Wildcard::Flows, Wildcard::Slows, Wildcard::Edges, Wildcard::Signals, Wildcard::Incidents, Wildcard::Traces];

/// A program that connects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A node's datapath.
    Datapath(NodeId),
    /// A node's tracer.
    Tracer(NodeId),
    /// An instance of the analyzer.
    Analyzer(NodeId),
    /// An instance of the API.
    Api(NodeId),
    /// An outsider, who only listens.
    Subscriber,
}

/// Subjects that a program may publish to and subscribe to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Publish to these.
    pub publish: Vec<String>,
    /// Subscribe to these.
    pub subscribe: Vec<String>,
    /// Answer what it was asked.
    pub answer: bool,
}

/// The connection's name, which is also the name of its credentials.
impl fmt::Display for Identity {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.service() {
            Some((service, node)) => write!(to, "{}-{node}", ServiceName(service)),
            None => to.write_str("synscope-subscriber"),
        }
    }
}

impl Identity {
    /// The service, and its node or instance; none of an outsider.
    pub const fn service(&self) -> Option<(&'static str, &NodeId)> {
        match self {
            Self::Datapath(node) => Some(("datapath", node)),
            Self::Tracer(node) => Some(("tracer", node)),
            Self::Analyzer(node) => Some(("analyzer", node)),
            Self::Api(node) => Some(("api", node)),
            Self::Subscriber => None,
        }
    }

    /// What it may do.
    pub fn permissions(&self) -> Permissions {
        let inbox = format!("{}.>", inbox(&self.to_string()));
        let mut may = Permissions { subscribe: vec![inbox.clone()], ..Permissions::default() };
        if let Some((service, node)) = self.service() {
            // A message to oneself tells that the server has what came before it.
            may.publish.push(inbox);
            may.subscribe.extend(micro_service(service));
            may.subscribe.push(format!("synscope.command.{service}.{node}.*"));
            may.answer = true;
        }
        match self {
            Self::Datapath(node) => {
                may.publish.extend([
                    format!("synscope.flow.{node}"),
                    format!("synscope.slow.{node}"),
                    format!("synscope.edge.*.{node}"),
                    format!("synscope.signal.{node}"),
                ]);
                for stream in MEASURED {
                    may.find(stream.name());
                }
                may.read_bucket(Bucket::Desired);
                may.read_bucket(Bucket::Endpoints);
                may.read_bucket(Bucket::Services);
                may.write_bucket(Bucket::Endpoints, &format!("{node}.>"));
            }
            Self::Tracer(node) => may.publish.push(format!("synscope.trace.*.{node}")),
            Self::Analyzer(_) => {
                may.publish.push(Wildcard::Incidents.to_string());
                may.make_all();
                for stream in MEASURED {
                    may.read_stream(stream);
                }
                may.read_bucket(Bucket::Incidents);
                may.write_bucket(Bucket::Incidents, ">");
                may.read_bucket(Bucket::Desired);
                // Curated probes only: who may start scripts is told by the API's tokens.
                for verb in [StartProbe::VERB, RenewTrace::VERB, StopTrace::VERB] {
                    may.publish.push(format!("synscope.command.tracer.*.{verb}"));
                }
                may.subscribe.push(Wildcard::Traces.to_string());
            }
            Self::Api(_) => {
                may.publish.extend([Wildcard::Audit.to_string(), ROLL_CALL.to_owned()]);
                may.publish.extend(["datapath", "tracer"].map(|service| format!("synscope.command.{service}.*.*")));
                may.publish.push(format!("synscope.command.analyzer.*.{HEALTH}"));
                may.subscribe.extend(EVENTS.iter().map(ToString::to_string));
                may.make_all();
                for stream in MEASURED {
                    may.read_stream(stream);
                }
                for bucket in Bucket::ALL {
                    may.read_bucket(bucket);
                }
                may.write_bucket(Bucket::Desired, ">");
                may.write_bucket(Bucket::Services, ">");
            }
            Self::Subscriber => {
                may.subscribe.extend(EVENTS.iter().map(ToString::to_string));
            }
        }
        may
    }
}

/// The authority's certificate in a folder of credentials.
pub const AUTHORITY: &str = "ca.crt";

/// The secret key of the connection of this name in a folder of credentials.
pub fn key_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.nk"))
}

/// Where answers to a connection of this name go; no other may listen there.
pub fn inbox(name: &str) -> String {
    format!("_INBOX.{name}")
}

/// The stream that keeps a bucket (NATS ADR-8).
fn kept_in(bucket: Bucket) -> String {
    format!("KV_{}", bucket.name())
}

/// What a micro-service listens to (NATS ADR-32).
fn micro_service(service: &str) -> impl Iterator<Item = String> {
    let name = ServiceName(service);
    ["PING", "INFO", "STATS"]
        .into_iter()
        .flat_map(move |verb| [format!("$SRV.{verb}"), format!("$SRV.{verb}.{name}"), format!("$SRV.{verb}.{name}.*")])
}

/// The subjects that `JetStream` is asked on: NATS, "`JetStream` wire API reference".
impl Permissions {
    /// To look whether a stream is there.
    fn find(&mut self, stream: &str) {
        self.publish.push(format!("$JS.API.STREAM.INFO.{stream}"));
    }

    /// To make what is not there. What is there already is not changed by that: another configuration is an error.
    fn make_all(&mut self) {
        // What `JetStream` can, who makes a bucket asks.
        self.publish.push("$JS.API.INFO".to_owned());
        let buckets = Bucket::ALL.iter().map(|bucket| kept_in(*bucket));
        for stream in Stream::ALL.iter().map(|stream| stream.name().to_owned()).chain(buckets) {
            self.find(&stream);
            self.publish.push(format!("$JS.API.STREAM.CREATE.{stream}"));
        }
    }

    fn read_stream(&mut self, stream: Stream) {
        self.find(stream.name());
        self.consume(stream.name());
        self.publish.push(format!("$JS.API.CONSUMER.MSG.NEXT.{}.>", stream.name()));
    }

    fn read_bucket(&mut self, bucket: Bucket) {
        let stream = kept_in(bucket);
        self.find(&stream);
        self.consume(&stream);
        self.publish.extend([
            format!("$JS.API.DIRECT.GET.{stream}.>"),
            // How fast a consumer may go on.
            format!("$JS.FC.{stream}.>"),
        ]);
    }

    /// To make consumers, with names or without, and to end them.
    fn consume(&mut self, stream: &str) {
        self.publish.extend(
            [
                format!("CREATE.{stream}"),
                format!("CREATE.{stream}.>"),
                format!("INFO.{stream}.>"),
                format!("DELETE.{stream}.>"),
            ]
            .map(|asked| format!("$JS.API.CONSUMER.{asked}")),
        );
    }

    fn write_bucket(&mut self, bucket: Bucket, key: &str) {
        self.publish.push(format!("$KV.{}.{key}", bucket.name()));
    }
}
