//! Who lives where: one document per node and address, so that a change is one small message.

use std::fmt;
use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::streams::Bucket;
use crate::subject::{NodeId, SubjectError};

/// How long an endpoint holds that nobody tells again. Its node does so three times meanwhile; what a node told that is
/// gone for good is forgotten, and so are the marks that removed endpoints leave in the bucket.
pub const ENDPOINT_AGE: Duration = Duration::from_hours(6);

/// Who lives at an address, as the address's node tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Endpoint {
    /// The workload, such as `shop/order`.
    pub workload: String,
    /// Since when, Unix ns UTC by the clock of its node; 0 where it is not known to have been another's.
    pub since_unix_ns: u64,
}

impl Document for Endpoint {
    const BUCKET: Bucket = Bucket::Endpoints;
}

/// The key of an endpoint, `<node>.<address>`: a node writes below its own name only. Dots of the address become `-` and
/// its colons `_`, so that it is one token: `node-a.10-0-1-2`, `node-a.fd00__1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// The node that tells it.
    pub node: NodeId,
    /// The address.
    pub address: IpAddr,
}

/// Why a text is no endpoint's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointKeyError {
    /// It is not made of two parts.
    #[error("{0:?} is not <node>.<address>")]
    Parts(String),
    /// Its first part is no node.
    #[error("{key:?} begins with no node's name")]
    Node {
        /// The text.
        key: String,
        /// What is wrong with it.
        source: SubjectError,
    },
    /// Its second part is no address.
    #[error("{key:?} ends in no address")]
    Address {
        /// The text.
        key: String,
        /// What is wrong with it.
        source: AddrParseError,
    },
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.address.to_string().replace('.', "-").replace(':', "_");
        write!(f, "{}.{token}", self.node)
    }
}

impl FromStr for EndpointKey {
    type Err = EndpointKeyError;

    fn from_str(key: &str) -> Result<Self, EndpointKeyError> {
        let (node, token) = key.split_once('.').ok_or_else(|| EndpointKeyError::Parts(key.to_owned()))?;
        let node = NodeId::new(node).map_err(|source| EndpointKeyError::Node { key: key.to_owned(), source })?;
        let address = token.replace('-', ".").replace('_', ":").parse();
        let address = address.map_err(|source| EndpointKeyError::Address { key: key.to_owned(), source })?;
        Ok(Self { node, address })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_pinned() {
        let key = |address: &str| {
            EndpointKey { node: NodeId::new("node-a").unwrap(), address: address.parse().unwrap() }.to_string()
        };
        assert_eq!(key("10.0.1.2"), "node-a.10-0-1-2");
        assert_eq!(key("fd00::1"), "node-a.fd00__1");
        assert_eq!(key("::ffff:10.0.1.2"), "node-a.__ffff_10-0-1-2");
    }

    #[test]
    fn what_is_no_key_is_said() {
        let wrong = |key: &str| key.parse::<EndpointKey>().unwrap_err().to_string();
        assert_eq!(wrong("node-a"), r#""node-a" is not <node>.<address>"#);
        assert_eq!(wrong("Node.10-0-1-2"), r#""Node.10-0-1-2" begins with no node's name"#);
        assert_eq!(wrong("node-a.10-0-1"), r#""node-a.10-0-1" ends in no address"#);
        assert_eq!(wrong("node-a.10-0-1-2.x"), r#""node-a.10-0-1-2.x" ends in no address"#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-z0-9_-]{1,63}", address: IpAddr) {
            let key = EndpointKey { node: NodeId::new(name).unwrap(), address };
            prop_assert_eq!(key.to_string().parse(), Ok(key.clone()));
            prop_assert!(key.to_string().chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
        }
    }
}
