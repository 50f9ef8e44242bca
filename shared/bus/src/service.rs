//! Services of Kubernetes: one document each, by `<namespace>.<name>`.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::streams::Bucket;

/// What the labels of services begin with.
pub const LABEL: &str = "service/";

/// The addresses that stand for a service, whoever answers there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Service {
    /// They.
    pub addresses: Vec<IpAddr>,
    /// Since when there is such a service, Unix ns UTC by the API server's clock.
    pub since_unix_ns: u64,
}

impl Document for Service {
    const BUCKET: Bucket = Bucket::Services;
}

impl Service {
    /// What its addresses are called, such as `service/shop/order`; none where the key is none of ours.
    pub fn label(key: &str) -> Option<String> {
        let (namespace, name) = key.split_once('.')?;
        Some(format!("{LABEL}{namespace}/{name}"))
    }
}
