//! Incidents as they stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use synscope_bus::message::incident::Incident;

/// Incidents kept; further ones are counted only.
pub const INCIDENTS_MAX: usize = 10_000;

/// What became of an incident.
#[derive(Debug, Clone)]
pub enum Changed {
    /// It stands so now.
    Put(Arc<Incident>),
    /// It is gone.
    Gone(String),
}

/// All of them, by identity.
#[derive(Debug, Default)]
pub struct Incidents {
    known: BTreeMap<String, Arc<Incident>>,
    refused: u64,
}

impl Incidents {
    /// Takes an incident as it stands now; none when there is no room for another.
    pub fn put(&mut self, key: &str, incident: Incident) -> Option<Arc<Incident>> {
        if self.known.len() >= INCIDENTS_MAX && !self.known.contains_key(key) {
            self.refused += 1;
            return None;
        }
        let incident = Arc::new(incident);
        self.known.insert(key.to_owned(), incident.clone());
        Some(incident)
    }

    /// Forgets one.
    pub fn remove(&mut self, key: &str) {
        self.known.remove(key);
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<Arc<Incident>> {
        self.known.get(id).cloned()
    }

    /// All, the latest seen first.
    pub fn all(&self) -> Vec<Arc<Incident>> {
        let mut all: Vec<_> = self.known.values().cloned().collect();
        all.sort_by_key(|incident| std::cmp::Reverse(incident.last_seen_unix_ns));
        all
    }

    /// Incidents kept.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Incidents beyond [`INCIDENTS_MAX`].
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}
