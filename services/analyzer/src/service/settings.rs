//! The analyzer's configuration.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use synscope_bus::configuration::{Log, Nats};

/// The analyzer's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// This instance's name.
    pub node: String,
    /// How much faster than usual everything is played; the same as the agents'.
    pub time_scale: f64,
    /// Whether curated probes may be started on the tracers of nodes at an incident's ends, for minutes, to confirm, exclude
    /// or locate its cause.
    pub probes: bool,
    /// Where NATS is.
    pub nats: Nats,
    /// What is logged.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        // Whoever runs a tracer on a node, and lets curated probes be started there, has consented to them already.
        let probes = true;
        Self { node: "analyzer-0".into(), time_scale: 1.0, probes, nats: Nats::default(), log: Log::default() }
    }
}

impl Settings {
    /// Refuses what is out of range.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (0.1..=1000.0).contains(&self.time_scale),
            "configuration key \"time_scale\" is {}, must be 0.1 to 1000",
            self.time_scale
        );
        Ok(())
    }
}
