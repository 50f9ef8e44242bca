//! The analyzer's configuration.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use synscope_bus::configuration::{Log, Nats};

/// The analyzer's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// This instance's name.
    pub(crate) node: String,
    /// How much faster than usual everything is played; the same as the agents'.
    pub(crate) time_scale: f64,
    /// Where NATS is.
    pub(crate) nats: Nats,
    /// What is logged.
    pub(crate) log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self { node: "analyzer-0".into(), time_scale: 1.0, nats: Nats::default(), log: Log::default() }
    }
}

impl Settings {
    /// Refuses what is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            (0.1..=1000.0).contains(&self.time_scale),
            "configuration key \"time_scale\" is {}, must be 0.1 to 1000",
            self.time_scale
        );
        Ok(())
    }
}
