//! What was heard, in memory and bounded.

use std::sync::Mutex;

use tokio::sync::broadcast;

use crate::settings::Settings;

pub mod edges;
pub mod flows;
pub mod incidents;
pub mod services;
pub mod signals;

/// Changes of incidents that a reader may be behind before it misses some.
const INCIDENTS_BEHIND: usize = 256;

/// All of it.
#[derive(Debug)]
pub struct Store {
    /// Flow events, as they came.
    pub flows: Mutex<flows::Flows>,
    /// Slow, retried, refused and failed flows.
    pub slows: Mutex<flows::Flows>,
    /// Counts and latencies per edge.
    pub edges: Mutex<edges::Edges>,
    /// Signals of the nodes.
    pub signals: Mutex<signals::Signals>,
    /// Incidents.
    pub incidents: Mutex<incidents::Incidents>,
    /// The other services.
    pub services: Mutex<services::Services>,
    /// Flow events for those who listen now.
    pub live_flows: broadcast::Sender<std::sync::Arc<flows::Flow>>,
    /// Changes of incidents for those who listen now.
    pub live_incidents: broadcast::Sender<incidents::Changed>,
}

impl Store {
    /// Empty.
    pub fn new(settings: &Settings) -> Self {
        let kept_ns = settings.kept_ns();
        Self {
            flows: Mutex::new(flows::Flows::new(settings.flows_kept)),
            slows: Mutex::new(flows::Flows::new(settings.slows_kept)),
            edges: Mutex::new(edges::Edges::new(settings.edge_buckets_kept, kept_ns)),
            signals: Mutex::new(signals::Signals::new(settings.signals_kept, kept_ns)),
            incidents: Mutex::default(),
            services: Mutex::default(),
            live_flows: broadcast::Sender::new(settings.stream_behind.max(1)),
            live_incidents: broadcast::Sender::new(INCIDENTS_BEHIND),
        }
    }
}

/// A value behind its lock. No code panics while it holds one, so a poisoned lock still guards a whole value.
pub fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
