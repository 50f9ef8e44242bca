//! The other services, as they answered last.

use std::collections::BTreeMap;

use synscope_bus::command::datapath::Status;
use synscope_bus::command::tracer::Activity;
use synscope_bus::labels::Labels;
use synscope_bus::life::Health;
use synscope_bus::message::signal::Observed;

/// Instances kept; further ones are not asked.
pub const INSTANCES_MAX: usize = 4096;

/// One instance, as it answered last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// Its health, or why there is none.
    pub health: Observed<Health>,
    /// What the datapath does, or why that is not known; none for other services.
    pub status: Option<Observed<Status>>,
    /// What the tracer's traces come to, or why that is not known; none for other services.
    pub activity: Option<Observed<Activity>>,
    /// Its node's labels, as it announced them last.
    pub labels: Labels,
    /// When it was asked, Unix ns UTC.
    pub asked_unix_ns: u64,
    /// When it was last heard of, Unix ns UTC.
    pub heard_unix_ns: u64,
}

/// All instances that were heard of, by service and node.
#[derive(Debug, Default)]
pub struct Services {
    known: BTreeMap<(&'static str, String), Instance>,
}

impl Services {
    /// An instance was heard of.
    pub fn heard(&mut self, service: &'static str, node: &str, labels: Labels, now_unix_ns: u64) {
        let key = (service, node.to_owned());
        if self.known.len() < INSTANCES_MAX || self.known.contains_key(&key) {
            let instance = self.known.entry(key).or_default();
            (instance.heard_unix_ns, instance.labels) = (now_unix_ns, labels);
        }
    }

    /// An instance answered, or did not.
    pub fn answered(&mut self, service: &'static str, node: &str, instance: Instance) {
        if let Some(known) = self.known.get_mut(&(service, node.to_owned())) {
            let heard_unix_ns = match instance.health {
                Observed::Observed { .. } => instance.asked_unix_ns,
                Observed::NotObserved { .. } | Observed::Unknown => known.heard_unix_ns,
            };
            let labels = std::mem::take(&mut known.labels);
            *known = Instance { labels, heard_unix_ns, ..instance };
        }
    }

    /// Forgets those of whom nothing was heard since then.
    pub fn forget(&mut self, before_unix_ns: u64) {
        self.known.retain(|_, instance| instance.heard_unix_ns >= before_unix_ns);
    }

    /// All of them.
    pub const fn known(&self) -> &BTreeMap<(&'static str, String), Instance> {
        &self.known
    }

    /// One node's datapath.
    pub fn datapath(&self, node: &str) -> Option<&Instance> {
        self.known.get(&("datapath", node.to_owned()))
    }
}
