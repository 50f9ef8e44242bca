//! What every handler has at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use synscope_bus::connection::Connection;
use synscope_bus::life::Life;
use synscope_bus::subject::NodeId;

use crate::access::audit::Audit;
use crate::access::{Access, AccessError};
use crate::feed::Feeds;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::store::Store;

/// The service's state.
#[derive(Debug, Clone)]
pub struct App {
    /// Its life.
    pub life: Life,
    /// What was heard.
    pub store: Arc<Store>,
    /// How it was heard.
    pub feeds: Arc<Feeds>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Who asked for changes.
    pub audit: Audit,
    missed: Arc<AtomicU64>,
}

impl App {
    /// Nothing heard yet.
    pub fn new(life: Life, node: NodeId, settings: &Settings) -> Result<Self, AccessError> {
        Ok(Self {
            store: Arc::new(Store::new(settings)),
            feeds: Arc::default(),
            access: Access::new(settings)?,
            audit: Audit::new(&life, node),
            missed: Arc::default(),
            life,
        })
    }

    /// The connection, while NATS is there.
    pub fn nats(&self) -> Result<&Connection, Problem> {
        let connection = self.life.connection();
        if connection.is_connected() {
            Ok(connection)
        } else {
            Err(Problem::unavailable("NATS is not there just now; what is in memory can still be read"))
        }
    }

    /// Counts what a slow reader of a stream missed.
    pub fn count_missed(&self, events: u64) {
        self.missed.fetch_add(events, Ordering::Relaxed);
    }

    /// What all slow readers of streams missed so far.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}
