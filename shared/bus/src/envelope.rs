//! Messages as they travel: headers that name the schema, and a `MessagePack` map.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use crate::{
    message::Message,
    subject::{NodeId, Subject, SubjectError},
};

/// Header: schema name and version, such as `flow/1`.
pub const SCHEMA_HEADER: &str = "Synscope-Schema";
/// Header: the node that speaks.
pub const NODE_HEADER: &str = "Synscope-Node";
/// Header: the publisher, `<node>.<boot nonce in hex>`.
pub const PUBLISHER_HEADER: &str = "Synscope-Publisher";
/// Header: the message's number with this publisher.
pub const SEQUENCE_HEADER: &str = "Synscope-Seq";
/// Header: the payload's type.
pub const CONTENT_TYPE_HEADER: &str = "Content-Type";
/// The only content type there is.
pub const CONTENT_TYPE: &str = "application/msgpack";

/// Why a message can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// header {name} is missing
    #[error("header {name} is missing")]
    MissingHeader {
        /// The header's name.
        name: &'static str,
    },
    /// header {name} has the unusable value {value:?}
    #[error("header {name} has the unusable value {value:?}")]
    Header {
        /// The header's name.
        name: &'static str,
        /// What it said.
        value: String,
    },
    /// schema is {found:?}, expected {expected:?}
    #[error("schema is {found:?}, expected {expected:?}")]
    ForeignSchema {
        /// The schema's name in the header.
        found: String,
        /// The schema's name that was asked for.
        expected: &'static str,
    },
    /// schema {schema} has version {found}, this reader knows up to {known}
    #[error("schema {schema} has version {found}, this reader knows up to {known}")]
    NewerVersion {
        /// The schema's name.
        schema: &'static str,
        /// The version in the header.
        found: u16,
        /// The newest version that can be read.
        known: u16,
    },
    /// payload of {length} bytes is no whole {schema} message
    #[error("payload of {length} bytes is no whole {schema} message")]
    Payload {
        /// The schema's name.
        schema: &'static str,
        /// Bytes in the payload.
        length: usize,
        /// What was wrong.
        source: rmp_serde::decode::Error,
    },
    /// a message that was delivered to where it was not published
    #[error("a message that was delivered to where it was not published")]
    Subject(#[from] SubjectError),
    /// a message of node {said:?} on a subject of node {subject:?}: somebody speaks for another
    #[error("a message of node {said:?} on a subject of node {subject:?}: somebody speaks for another")]
    Speaker {
        /// The node that the header or the message says.
        said: String,
        /// The node that the subject names.
        subject: String,
    },
    /// {schema} message holds {left} bytes after its end
    #[error("{schema} message holds {left} bytes after its end")]
    Trailing {
        /// The schema's name.
        schema: &'static str,
        /// Bytes after the message.
        left: usize,
    },
    /// {schema} message can't be encoded
    #[error("{schema} message can't be encoded")]
    Encode {
        /// The schema's name.
        schema: &'static str,
        /// What was wrong.
        source: rmp_serde::encode::Error,
    },
}

/// One life of one node's publisher.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublisherId {
    /// The node.
    pub node: NodeId,
    /// Drawn anew at every start, so that a restart is told from a gap.
    pub boot_nonce: u64,
}

impl PublisherId {
    /// A new life of the node's publisher. The nonce is the time: two lives of one node don't begin in one ns.
    pub fn begin(node: NodeId) -> Self {
        Self { node, boot_nonce: crate::life::unix_now_ns() }
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}", self.node, self.boot_nonce)
    }
}

/// Why a text is no publisher.
#[derive(Debug, thiserror::Error)]
pub enum PublisherIdError {
    /// {text:?} is not <node>.<nonce>
    #[error("{text:?} is not <node>.<nonce>")]
    Shape {
        /// The whole text.
        text: String,
    },
    /// the node is not valid
    #[error("the node is not valid")]
    Node(#[from] SubjectError),
    /// the nonce is no hexadecimal number
    #[error("the nonce is no hexadecimal number")]
    Nonce(#[from] std::num::ParseIntError),
}

impl FromStr for PublisherId {
    type Err = PublisherIdError;

    fn from_str(text: &str) -> Result<Self, PublisherIdError> {
        let (node, nonce) = text.split_once('.').ok_or_else(|| PublisherIdError::Shape { text: text.into() })?;
        Ok(Self { node: NodeId::new(node)?, boot_nonce: u64::from_str_radix(nonce, 16)? })
    }
}

/// A message ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Header names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The `MessagePack` map; a copy of it shares its bytes.
    pub payload: Bytes,
}

/// A message that was read, with who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<M> {
    /// Who said it.
    pub publisher: PublisherId,
    /// Its number with this publisher.
    pub sequence: u64,
    /// What was said.
    pub message: M,
}

/// Makes headers and payload of a message.
pub fn encode<M: Message>(message: &M, publisher: &PublisherId, sequence: u64) -> Result<Encoded, EnvelopeError> {
    let payload =
        rmp_serde::to_vec_named(message).map_err(|source| EnvelopeError::Encode { schema: M::SCHEMA, source })?;
    let headers = vec![
        (CONTENT_TYPE_HEADER, CONTENT_TYPE.into()),
        (SCHEMA_HEADER, format!("{}/{}", M::SCHEMA, M::VERSION)),
        (NODE_HEADER, publisher.node.to_string()),
        (PUBLISHER_HEADER, publisher.to_string()),
        (SEQUENCE_HEADER, sequence.to_string()),
    ];
    Ok(Encoded { headers, payload: payload.into() })
}

/// Reads a message; `header` looks a header up by name.
pub fn decode<'a, M: Message>(
    header: impl Fn(&str) -> Option<&'a str>,
    payload: &[u8],
) -> Result<Received<M>, EnvelopeError> {
    let want = |name| header(name).ok_or(EnvelopeError::MissingHeader { name });
    let unusable = |name, value: &str| EnvelopeError::Header { name, value: value.into() };

    let schema = want(SCHEMA_HEADER)?;
    let (name, version) = schema
        .split_once('/')
        .and_then(|(name, version)| Some((name, version.parse::<u16>().ok()?)))
        .ok_or_else(|| unusable(SCHEMA_HEADER, schema))?;
    if name != M::SCHEMA {
        return Err(EnvelopeError::ForeignSchema { found: name.into(), expected: M::SCHEMA });
    }
    if version > M::VERSION {
        return Err(EnvelopeError::NewerVersion { schema: M::SCHEMA, found: version, known: M::VERSION });
    }
    let content = want(CONTENT_TYPE_HEADER)?;
    if content != CONTENT_TYPE {
        return Err(unusable(CONTENT_TYPE_HEADER, content));
    }
    let text = want(PUBLISHER_HEADER)?;
    let Ok(publisher) = text.parse::<PublisherId>() else {
        return Err(unusable(PUBLISHER_HEADER, text));
    };
    let node = want(NODE_HEADER)?;
    if node != publisher.node.as_str() {
        return Err(unusable(NODE_HEADER, node));
    }
    let text = want(SEQUENCE_HEADER)?;
    let Ok(sequence) = text.parse() else {
        return Err(unusable(SEQUENCE_HEADER, text));
    };

    let mut rest = payload;
    let message = rmp_serde::from_read(&mut rest).map_err(|source| EnvelopeError::Payload {
        schema: M::SCHEMA,
        length: payload.len(),
        source,
    })?;
    if !rest.is_empty() {
        return Err(EnvelopeError::Trailing { schema: M::SCHEMA, left: rest.len() });
    }
    Ok(Received { publisher, sequence, message })
}

/// Refuses a message that is of another node than its subject: the server lets each node speak on its own subjects only.
pub fn check_speaker<M: Message>(subject: &str, received: &Received<M>) -> Result<(), EnvelopeError> {
    let subject = subject.parse::<Subject>()?;
    let Some(node) = subject.node() else { return Ok(()) };
    let said = [Some(received.publisher.node.as_str()), received.message.node()];
    match said.into_iter().flatten().find(|said| *said != node.as_str()) {
        Some(said) => Err(EnvelopeError::Speaker { said: said.to_owned(), subject: node.to_string() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{edge::EdgeBatch, flow::FlowBatch};

    fn sample() -> Encoded {
        let publisher = PublisherId { node: NodeId::new("node-a").unwrap(), boot_nonce: 7 };
        encode(&FlowBatch::default(), &publisher, 3).unwrap()
    }

    fn read<M: Message>(sent: &Encoded) -> Result<Received<M>, EnvelopeError> {
        let header = |name: &str| {
            let found = sent.headers.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.as_str())
        };
        decode(header, &sent.payload)
    }

    fn set(sent: &mut Encoded, name: &str, value: &str) {
        for (_, v) in sent.headers.iter_mut().filter(|(n, _)| *n == name) {
            *v = value.into();
        }
    }

    #[test]
    fn what_is_sent_is_read() {
        let read = read::<FlowBatch>(&sample()).unwrap();
        assert_eq!(read.publisher.to_string(), "node-a.0000000000000007");
        assert_eq!(read.sequence, 3);
        assert_eq!(read.message, FlowBatch::default());
    }

    #[test]
    fn foreign_schema_is_named() {
        let error = read::<EdgeBatch>(&sample()).unwrap_err();
        assert_eq!(error.to_string(), r#"schema is "flow", expected "edge""#);
    }

    #[test]
    fn newer_version_is_refused() {
        let mut sent = sample();
        set(&mut sent, SCHEMA_HEADER, "flow/2");
        let error = read::<FlowBatch>(&sent).unwrap_err();
        assert!(matches!(error, EnvelopeError::NewerVersion { found: 2, .. }));
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = sample();
        for length in 0..whole.payload.len() {
            let mut sent = whole.clone();
            sent.payload.truncate(length);
            let error = read::<FlowBatch>(&sent).unwrap_err();
            assert!(matches!(error, EnvelopeError::Payload { .. }), "{error}");
        }
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        let mut sent = sample();
        sent.payload = [&sent.payload[..], &[0]].concat().into();
        let error = read::<FlowBatch>(&sent).unwrap_err();
        assert!(matches!(error, EnvelopeError::Trailing { left: 1, .. }));
    }

    #[test]
    fn each_header_is_needed_and_checked() {
        for (name, _) in sample().headers {
            let mut sent = sample();
            set(&mut sent, name, "?");
            assert!(read::<FlowBatch>(&sent).is_err(), "{name} was not checked");
            sent.headers.retain(|(n, _)| *n != name);
            let error = read::<FlowBatch>(&sent).unwrap_err();
            assert!(matches!(error, EnvelopeError::MissingHeader { .. }));
        }
    }
}
