//! What travels: one file per message, all alike.

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub mod audit;
pub mod edge;
pub mod flow;
pub mod incident;
pub mod signal;
pub mod trace;

/// A message that travels by itself, with its schema's name and version beside it.
pub trait Message: Serialize + DeserializeOwned + JsonSchema {
    /// The schema's name, as in the header `Synscope-Schema: <name>/<version>`.
    const SCHEMA: &str;
    /// The schema's version; it grows only when old readers would misread.
    const VERSION: u16;

    /// The node that it says it is of, where its subject names one as well.
    fn node(&self) -> Option<&str> {
        None
    }
}
