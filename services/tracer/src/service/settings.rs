//! The tracer's configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use synscope_bus::command::tracer::Limits;
use synscope_bus::configuration::{self, Log, Nats, NodeError};
use synscope_bus::labels::Labels;
use synscope_bus::subject::NodeId;

/// What one trace may cost at most; who starts one may ask for less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitSettings {
    /// Hits of all its probes together, per CPU and second.
    pub hits_per_second: u64,
    /// Time that its programs take of a CPU, of a thousand.
    pub cpu_permille: u64,
    /// Lines that it writes, per second.
    pub lines_per_second: u64,
    /// Places that its probes are at.
    pub probes: u64,
    /// Entries that its maps may hold together.
    pub map_entries: u64,
    /// Memory of its maps, bytes.
    pub memory_bytes: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            hits_per_second: 100_000,
            cpu_permille: 100,
            lines_per_second: 2_000,
            probes: 512,
            map_entries: 65_536,
            memory_bytes: 64 << 20,
        }
    }
}

impl LimitSettings {
    /// What is asked for, where it is less than what is allowed.
    #[must_use]
    pub fn within(self, asked: Limits) -> Self {
        let least = |allowed: u64, asked: Option<u64>| asked.map_or(allowed, |asked| asked.min(allowed));
        Self {
            hits_per_second: least(self.hits_per_second, asked.hits_per_second),
            cpu_permille: least(self.cpu_permille, asked.cpu_permille),
            lines_per_second: least(self.lines_per_second, asked.lines_per_second),
            probes: least(self.probes, asked.probes),
            map_entries: least(self.map_entries, asked.map_entries),
            memory_bytes: least(self.memory_bytes, asked.memory_bytes),
        }
    }
}

impl From<LimitSettings> for Limits {
    fn from(limits: LimitSettings) -> Self {
        Self {
            hits_per_second: Some(limits.hits_per_second),
            cpu_permille: Some(limits.cpu_permille),
            lines_per_second: Some(limits.lines_per_second),
            probes: Some(limits.probes),
            map_entries: Some(limits.map_entries),
            memory_bytes: Some(limits.memory_bytes),
        }
    }
}

/// The configuration as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// This node's name; empty for the host's.
    pub node: String,
    /// What nodes are chosen by, beside their names.
    pub labels: Labels,
    /// Whether curated probes may be started.
    pub probes: bool,
    /// Whether own scripts may be started: they can read all of the kernel's memory.
    pub scripts: bool,
    /// Traces at once.
    pub traces: usize,
    /// How long a trace runs at most, seconds.
    pub duration_s: u64,
    /// How long NATS may be away before traces end that have no lease, seconds.
    pub away_s: u64,
    /// What one trace may cost.
    pub limits: LimitSettings,
    /// Functions that no probe may be at, as patterns.
    pub denied_functions: Vec<String>,
    /// Where NATS is.
    pub nats: Nats,
    /// What is logged.
    pub log: Log,
}

/// Functions that tracing itself runs through, that are called with locks of the scheduler held, or where not even the
/// kernel's own tracer goes.
const DENIED: [&str; 24] = [
    "*spin_lock*",
    "*spin_unlock*",
    "*spin_trylock*",
    "queued_*_lock_slowpath",
    "native_queued_*",
    "*rwlock*",
    "lock_acquire*",
    "lock_release*",
    "lockdep_*",
    "*nmi*",
    "*rcu_read_lock*",
    "*rcu_read_unlock*",
    "bpf_*",
    "__bpf_*",
    "*htab_*",
    "array_map_*",
    "percpu_array_*",
    "perf_trace_*",
    "*kprobe*",
    "ftrace_*",
    "trace_call_bpf*",
    "ktime_get*",
    "*irq_work_*",
    "do_int3*",
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: String::new(),
            labels: Labels::none(),
            probes: true,
            scripts: false,
            traces: 8,
            duration_s: 3600,
            away_s: 30,
            limits: LimitSettings::default(),
            denied_functions: DENIED.map(str::to_owned).into(),
            nats: Nats::default(),
            log: Log::default(),
        }
    }
}

/// Which value cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The node has no name.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A number that must not be zero.
    #[error("configuration key {0:?} must be more than 0")]
    Zero(&'static str),
}

impl Settings {
    /// This node's name.
    pub fn node_id(&self) -> Result<NodeId, SettingsError> {
        Ok(configuration::node_id(&self.node)?)
    }

    /// Checks what the types cannot say.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.node_id()?;
        let LimitSettings { hits_per_second, cpu_permille, lines_per_second, probes, map_entries, memory_bytes } =
            self.limits;
        for (key, value) in [
            ("duration_s", self.duration_s),
            ("limits.hits_per_second", hits_per_second),
            ("limits.cpu_permille", cpu_permille),
            ("limits.lines_per_second", lines_per_second),
            ("limits.probes", probes),
            ("limits.map_entries", map_entries),
            ("limits.memory_bytes", memory_bytes),
        ] {
            if value == 0 {
                return Err(SettingsError::Zero(key));
            }
        }
        Ok(())
    }

    /// How long NATS may be away before a trace without a lease ends.
    pub fn away(&self) -> Duration {
        Duration::from_secs(self.away_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_own_scripts_are_off() {
        let settings = Settings { node: "n".into(), ..Settings::default() };
        settings.check().unwrap();
        assert_eq!((settings.probes, settings.scripts), (true, false));
        let limits = LimitSettings { memory_bytes: 0, ..LimitSettings::default() };
        let wrong = Settings { limits, ..settings.clone() }.check().unwrap_err();
        assert!(wrong.to_string().contains("limits.memory_bytes"), "{wrong}");
        assert!(Settings { node: "N 1".into(), ..settings }.check().is_err());
    }

    #[test]
    fn who_starts_a_trace_may_ask_for_less_and_not_for_more() {
        let asked = Limits { hits_per_second: Some(5), probes: Some(u64::MAX), ..Limits::default() };
        let within = LimitSettings::default().within(asked);
        assert_eq!(within, LimitSettings { hits_per_second: 5, ..LimitSettings::default() });
    }
}
