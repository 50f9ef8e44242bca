//! Subjects: every one of them built and parsed here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Shards that edges are spread over.
pub const EDGE_SHARDS: u8 = 16;

const NODE_ID_MAX: usize = 63;

/// Why a text is no subject of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// token has {length} characters, must have 1 to 63
    #[error("token has {length} characters, must have 1 to 63")]
    TokenLength {
        /// Length found, in bytes.
        length: usize,
    },
    /// token {token:?} holds {found:?}; allowed are a-z, 0-9, '-' and '_'
    #[error("token {token:?} holds {found:?}; allowed are a-z, 0-9, '-' and '_'")]
    TokenCharacter {
        /// The whole token.
        token: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// shard {shard:?} is not p00 to p15
    #[error("shard {shard:?} is not p00 to p15")]
    Shard {
        /// The token found in the shard's place.
        shard: String,
    },
    /// subject {subject:?} is none of synscope's
    #[error("subject {subject:?} is none of synscope's")]
    Foreign {
        /// The whole subject.
        subject: String,
    },
}

/// A name that is one NATS token: 1 to 63 of a-z, 0-9, '-' and '_'.
macro_rules! token {
    ($(#[doc = $about:literal])* $name:ident) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a name.
            pub fn new(name: impl Into<String>) -> Result<Self, SubjectError> {
                let name = name.into();
                check_token(&name)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = SubjectError;

            fn try_from(name: String) -> Result<Self, SubjectError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

token! {
    /// A node as one NATS token: 1 to 63 of a-z, 0-9, '-' and '_'.
    NodeId
}

token! {
    /// An incident's kind as one NATS token, under the same rule as [`NodeId`].
    IncidentKind
}

token! {
    /// A trace as one NATS token, under the same rule as [`NodeId`]; the same on all nodes that it runs on.
    TraceId
}

/// The shard of an edge: a number below [`EDGE_SHARDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u8);

impl Shard {
    /// The shard that an edge's events go to, the same on every node.
    pub fn of_edge(edge: &str) -> Self {
        // The remainder is below 16, so its low byte is all of it.
        let [low, ..] = (fnv1a(edge.as_bytes()) % u64::from(EDGE_SHARDS)).to_le_bytes();
        Self(low)
    }

    /// A shard by number; none from [`EDGE_SHARDS`] on.
    pub fn new(number: u8) -> Option<Self> {
        (number < EDGE_SHARDS).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:02}", self.0)
    }
}

impl FromStr for Shard {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        (0..EDGE_SHARDS)
            .map(Self)
            .find(|shard| shard.to_string() == text)
            .ok_or_else(|| SubjectError::Shard { shard: text.into() })
    }
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `synscope.flow.<node>`: all flow events, not stored.
    Flow(NodeId),
    /// `synscope.slow.<node>`: slow, retried, refused and failed flows, stored.
    Slow(NodeId),
    /// `synscope.edge.p<NN>.<node>`: counts and sketches per edge, stored.
    Edge(Shard, NodeId),
    /// `synscope.signal.<node>`: the node's signals, stored.
    Signal(NodeId),
    /// `synscope.incident.<kind>`: incidents, stored.
    Incident(IncidentKind),
    /// `synscope.trace.<id>.<node>`: what a trace tells on one node, not stored.
    Trace(TraceId, NodeId),
    /// `synscope.audit`: who asked for a change, and what came of it, stored.
    Audit,
}

impl Subject {
    /// The node that speaks there; none where others speak.
    pub const fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Flow(node) | Self::Slow(node) | Self::Edge(_, node) | Self::Signal(node) | Self::Trace(_, node) => {
                Some(node)
            }
            Self::Incident(_) | Self::Audit => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow(node) => write!(f, "synscope.flow.{node}"),
            Self::Slow(node) => write!(f, "synscope.slow.{node}"),
            Self::Edge(shard, node) => write!(f, "synscope.edge.{shard}.{node}"),
            Self::Signal(node) => write!(f, "synscope.signal.{node}"),
            Self::Incident(kind) => write!(f, "synscope.incident.{kind}"),
            Self::Trace(trace, node) => write!(f, "synscope.trace.{trace}.{node}"),
            Self::Audit => f.write_str("synscope.audit"),
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let tokens: Vec<&str> = text.split('.').collect();
        match tokens.as_slice() {
            ["synscope", "flow", node] => Ok(Self::Flow(NodeId::new(*node)?)),
            ["synscope", "slow", node] => Ok(Self::Slow(NodeId::new(*node)?)),
            ["synscope", "edge", shard, node] => Ok(Self::Edge(shard.parse()?, NodeId::new(*node)?)),
            ["synscope", "signal", node] => Ok(Self::Signal(NodeId::new(*node)?)),
            ["synscope", "incident", kind] => Ok(Self::Incident(IncidentKind::new(*kind)?)),
            ["synscope", "trace", trace, node] => Ok(Self::Trace(TraceId::new(*trace)?, NodeId::new(*node)?)),
            ["synscope", "audit"] => Ok(Self::Audit),
            _ => Err(SubjectError::Foreign { subject: text.into() }),
        }
    }
}

/// `synscope.command.<service>.<node>.<verb>`: a question to one instance of one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandSubject {
    /// The service, such as `datapath`.
    pub service: &'static str,
    /// Whose instance: the node it runs on.
    pub node: NodeId,
    /// What is asked.
    pub verb: &'static str,
}

impl fmt::Display for CommandSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, node, verb } = self;
        write!(f, "synscope.command.{service}.{node}.{verb}")
    }
}

/// What every micro-service answers that is there (NATS ADR-32).
pub const ROLL_CALL: &str = "$SRV.PING";

/// What NATS calls a service of ours: `synscope-datapath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceName<'a>(pub &'a str);

impl<'a> ServiceName<'a> {
    const PREFIX: &'static str = "synscope-";

    /// The service of this name; none when it is not ours.
    pub fn service(name: &'a str) -> Option<&'a str> {
        name.strip_prefix(Self::PREFIX)
    }
}

impl fmt::Display for ServiceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

/// What to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wildcard {
    /// Flow events of all nodes.
    Flows,
    /// Slow flows of all nodes.
    Slows,
    /// Edges of all shards and nodes.
    Edges,
    /// Edges of one shard, all nodes.
    EdgeShard(Shard),
    /// Signals of all nodes.
    Signals,
    /// Incidents of all kinds.
    Incidents,
    /// All traces on all nodes.
    Traces,
    /// One trace on all nodes.
    Trace(TraceId),
    /// Who asked for changes.
    Audit,
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flows => f.write_str("synscope.flow.*"),
            Self::Slows => f.write_str("synscope.slow.*"),
            Self::Edges => f.write_str("synscope.edge.*.*"),
            Self::EdgeShard(shard) => write!(f, "synscope.edge.{shard}.*"),
            Self::Signals => f.write_str("synscope.signal.*"),
            Self::Incidents => f.write_str("synscope.incident.*"),
            Self::Traces => f.write_str("synscope.trace.*.*"),
            Self::Trace(trace) => write!(f, "synscope.trace.{trace}.*"),
            Self::Audit => f.write_str("synscope.audit"),
        }
    }
}

fn check_token(token: &str) -> Result<(), SubjectError> {
    if !(1..=NODE_ID_MAX).contains(&token.len()) {
        return Err(SubjectError::TokenLength { length: token.len() });
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match token.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(SubjectError::TokenCharacter { token: token.into(), found }),
        None => Ok(()),
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version, unlike std's hasher.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fnv1a_is_pinned() {
        // Vectors of the FNV authors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(Shard::of_edge("foobar").to_string(), "p08");
    }

    #[test]
    fn foreign_texts_are_refused() {
        for text in [
            "",
            "synscope",
            "synscope.flow",
            "synscope.flow.a.b",
            "other.flow.a",
            "synscope.edge.p16.a",
            "synscope.edge.p1.a",
            "synscope.edge.3.a",
            "synscope.flow.*",
            "synscope.flow.A",
            "synscope.flow.",
            "synscope.trace.t1",
            "synscope.trace.*.a",
            "synscope.trace.t1.",
            "synscope.audit.a",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text:?} was taken");
        }
        assert!(NodeId::new("a".repeat(64)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_built_is_parsed(name in "[a-z0-9_-]{1,63}", number in 0..EDGE_SHARDS, which in 0..7) {
            let node = NodeId::new(name.clone()).unwrap();
            let subject = match which {
                0 => Subject::Flow(node),
                1 => Subject::Slow(node),
                2 => Subject::Edge(Shard::new(number).unwrap(), node),
                3 => Subject::Signal(node),
                4 => Subject::Trace(TraceId::new(name).unwrap(), node),
                5 => Subject::Audit,
                _ => Subject::Incident(IncidentKind::new(name).unwrap()),
            };
            prop_assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
        }

        #[test]
        fn parsing_anything_is_safe(text in ".*") {
            if let Ok(subject) = text.parse::<Subject>() {
                prop_assert_eq!(subject.to_string(), text);
            }
        }
    }
}
