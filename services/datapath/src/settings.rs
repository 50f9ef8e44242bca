//! The datapath's configuration.

use std::path::PathBuf;
use std::time::Duration;

use glob::{Pattern, PatternError};
use serde::{Deserialize, Serialize};
use synscope_abi::settings::EXEMPT_PORTS;
use synscope_abi::timeout::Timeouts;
use synscope_abi::{CONNTRACK_ENTRIES_DEFAULT, CONNTRACK_ENTRIES_MAX};
use synscope_bus::configuration::{self, Log, Nats, NodeError};
use synscope_bus::subject::NodeId;

use crate::kernel::{Mode, OnFull};

/// Length of a bucket at a time scale of 1.
const BUCKET: Duration = Duration::from_secs(10);

/// How long a record may wait on its way from the sweep to its message.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// What the programs may do to packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Never change a packet's fate.
    #[default]
    Observe,
    /// A full table may refuse new connections.
    Enforce,
}

/// Time-outs, in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeoutSettings {
    /// A SYN without answer, or a SYN-ACK without ACK.
    pub handshake: u64,
    /// An established connection.
    pub established: u64,
    /// After the first FIN.
    pub closing: u64,
    /// After both FINs or a reset.
    pub closed: u64,
    /// Anything but TCP.
    pub other: u64,
    /// A SYN that was given no entry and does not come again.
    pub pending: u64,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        let Timeouts { handshake, established, closing, closed, other, pending } = Timeouts::SECONDS;
        Self { handshake, established, closing, closed, other, pending }
    }
}

/// Where this node's pods get their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KubernetesSettings {
    /// Whether they are asked for.
    pub enabled: bool,
    /// What Kubernetes calls this node; empty where that is `node` itself. It may have dots.
    pub node: String,
}

/// The configuration as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// This node's name; empty for the host's.
    pub node: String,
    /// Folder on bpffs for tables and links that outlive the process.
    pub pins: PathBuf,
    /// The node's network namespace, as a file such as `/run/netns/x`; none for the one the process is in.
    pub netns: Option<PathBuf>,
    /// Further namespaces whose counters belong to this node, as patterns such as `/run/netns/pod-*`.
    pub watched_netns: Vec<String>,
    /// Interfaces to attach to, as patterns of names; those that appear later are found too.
    pub interfaces: Vec<String>,
    /// Also puts the XDP program on them, which parses and passes; off by default.
    pub xdp: bool,
    /// What the programs may do to packets.
    pub mode: Policy,
    /// In enforce mode: what a full table does to a new connection.
    pub on_full: OnFull,
    /// Ports that are never refused: NATS, the API and SSH at least.
    pub exempt_ports: Vec<u16>,
    /// Capacity of each table made anew; desired state may say otherwise.
    pub conntrack_entries: u32,
    /// When entries are forgotten.
    pub timeouts: TimeoutSettings,
    /// About how often a connection in use gives a heartbeat event, seconds; 0 for never.
    pub heartbeat_s: u64,
    /// Between two sweeps, ms.
    pub sweep_ms: u64,
    /// Between two readings of the node's signals, ms.
    pub signals_ms: u64,
    /// A handshake above this is slow, ms.
    pub slow_ms: u64,
    /// How much faster than usual everything is played: buckets last 10 s divided by it.
    pub time_scale: f64,
    /// File with the workloads on this node; see `docs/operations.md`. None: only what others tell.
    pub endpoints: Option<PathBuf>,
    /// Where this node's pods get their names.
    pub kubernetes: KubernetesSettings,
    /// Where NATS is.
    pub nats: Nats,
    /// What is logged.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: String::new(),
            pins: "/sys/fs/bpf/synscope".into(),
            netns: None,
            watched_netns: Vec::new(),
            interfaces: ["eth*", "en*", "veth*", "lxc*", "cali*"].map(str::to_owned).into(),
            xdp: false,
            mode: Policy::Observe,
            on_full: OnFull::Drop,
            exempt_ports: vec![22, 4222, 8080],
            conntrack_entries: CONNTRACK_ENTRIES_DEFAULT,
            timeouts: TimeoutSettings::default(),
            heartbeat_s: 60,
            sweep_ms: 10_000,
            signals_ms: 1000,
            slow_ms: 100,
            time_scale: 1.0,
            endpoints: None,
            kubernetes: KubernetesSettings::default(),
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
    /// A pattern is none.
    #[error("configuration key {key:?}: pattern {pattern:?}")]
    Pattern {
        /// The key.
        key: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A number is out of range.
    #[error("configuration key {key:?} is {found}, must be {allowed}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it says.
        found: f64,
        /// What it may say.
        allowed: String,
    },
}

impl Settings {
    /// This node's name.
    pub fn node_id(&self) -> Result<NodeId, SettingsError> {
        Ok(configuration::node_id(&self.node)?)
    }

    /// What Kubernetes calls this node; none where it is not asked.
    pub fn kubernetes_node(&self) -> Result<Option<String>, SettingsError> {
        let KubernetesSettings { enabled, node } = &self.kubernetes;
        Ok(match (enabled, node.as_str()) {
            (false, _) => None,
            (true, "") => Some(self.node_id()?.to_string()),
            (true, node) => Some(node.to_owned()),
        })
    }

    /// The patterns of interface names.
    pub fn interface_patterns(&self) -> Result<Vec<Pattern>, SettingsError> {
        patterns("interfaces", &self.interfaces)
    }

    /// The kernel's mode.
    pub fn kernel_mode(&self) -> Result<Mode, SettingsError> {
        let mut exempt_ports = [0; EXEMPT_PORTS];
        if self.exempt_ports.len() > EXEMPT_PORTS {
            return Err(range("exempt_ports", self.exempt_ports.len(), format!("at most {EXEMPT_PORTS} ports")));
        }
        for (slot, port) in exempt_ports.iter_mut().zip(&self.exempt_ports) {
            *slot = *port;
        }
        Ok(match self.mode {
            Policy::Observe => Mode::Observe,
            Policy::Enforce => Mode::Enforce { on_full: self.on_full, exempt_ports },
        })
    }

    /// The kernel's time-outs.
    pub const fn kernel_timeouts(&self) -> Timeouts {
        let TimeoutSettings { handshake, established, closing, closed, other, pending } = self.timeouts;
        Timeouts { handshake, established, closing, closed, other, pending }
    }

    /// Length of a bucket.
    pub fn bucket(&self) -> Duration {
        BUCKET.div_f64(self.time_scale)
    }

    /// For how long records may ask for a name that an address had: an entry that nothing ends stays until its time-out
    /// and the sweep after it, and its record then waits for its batch.
    pub fn names_kept(&self) -> Duration {
        let TimeoutSettings { handshake, established, closing, closed, other, pending } = self.timeouts;
        let longest = [handshake, established, closing, closed, other, pending].into_iter().max().unwrap_or(0);
        Duration::from_secs(longest) + Duration::from_millis(self.sweep_ms) + RECORD_WAIT
    }

    /// Checks what the types cannot say.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.node_id()?;
        self.interface_patterns()?;
        patterns("watched_netns", &self.watched_netns)?;
        self.kernel_mode()?;
        if !(0.1..=1000.0).contains(&self.time_scale) {
            let (key, found) = ("time_scale", self.time_scale);
            return Err(SettingsError::Range { key, found, allowed: "0.1 to 1000".into() });
        }
        if !(1..=CONNTRACK_ENTRIES_MAX).contains(&self.conntrack_entries) {
            let allowed = format!("1 to {CONNTRACK_ENTRIES_MAX}");
            return Err(range("conntrack_entries", self.conntrack_entries as usize, allowed));
        }
        for (key, ms) in [("sweep_ms", self.sweep_ms), ("signals_ms", self.signals_ms)] {
            if !(50..=600_000).contains(&ms) {
                return Err(range(key, usize::try_from(ms).unwrap_or(usize::MAX), "50 to 600000".into()));
            }
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "for an error message")]
fn range(key: &'static str, found: usize, allowed: String) -> SettingsError {
    SettingsError::Range { key, found: found as f64, allowed }
}

fn patterns(key: &'static str, texts: &[String]) -> Result<Vec<Pattern>, SettingsError> {
    let pattern = |text: &String| {
        Pattern::new(text).map_err(|source| SettingsError::Pattern { key, pattern: text.clone(), source })
    };
    texts.iter().map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_a_bucket_scales() {
        let settings = Settings { node: "n".into(), ..Settings::default() };
        settings.check().unwrap();
        assert_eq!(Settings { time_scale: 30.0, ..settings }.bucket(), Duration::from_nanos(333_333_333));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let wrong = |settings: Settings| settings.check().unwrap_err().to_string();
        let settings = Settings { node: "n".into(), ..Settings::default() };
        assert!(wrong(Settings { node: "N 1".into(), ..settings.clone() }).contains("\"node\""));
        assert!(wrong(Settings { time_scale: 0.0, ..settings.clone() }).contains("time_scale"));
        assert!(wrong(Settings { conntrack_entries: 0, ..settings.clone() }).contains("conntrack_entries"));
        assert!(wrong(Settings { interfaces: vec!["[".into()], ..settings.clone() }).contains("interfaces"));
        assert!(wrong(Settings { exempt_ports: vec![1; 99], ..settings }).contains("exempt_ports"));
    }
}
