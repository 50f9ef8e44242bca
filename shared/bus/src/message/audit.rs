//! Who asked for a change, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Message;

/// Somebody asked for a change: of desired state, by a fix, or by starting or ending a trace. What was refused is told too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuditEvent {
    /// The instance of the API that was asked.
    pub node: String,
    /// When it answered, Unix ns UTC.
    pub time_unix_ns: u64,
    /// The name of the token that was shown; none where none was, or one that nobody knows.
    pub who: Option<String>,
    /// The address of who asked, such as `10.0.1.2`; a proxy's where one is between.
    pub from: String,
    /// The method, such as `POST`.
    pub method: String,
    /// The path, such as `/v1/incidents/i-8908ed5adf6f9ccc/fix`.
    pub path: String,
    /// What was asked for, as far as it was read: JSON, its first 4096 bytes.
    pub request: String,
    /// The HTTP status of the answer: below 300, it was done.
    pub status: u16,
    /// Why it was not done.
    pub problem: Option<String>,
}

impl Message for AuditEvent {
    const SCHEMA: &str = "audit";
    const VERSION: u16 = 1;
}
