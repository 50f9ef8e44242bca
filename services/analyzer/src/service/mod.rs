//! The service around the engine: what comes in, when it is looked at, and where incidents go.

mod feed;
mod probes;
mod settings;
mod store;

use std::time::Duration;

use anyhow::Result;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::subject::NodeId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use feed::Input;
pub use settings::Settings;
use store::Store;
use synscope_engine::engine::{Engine, Refused};
use synscope_engine::scale::Scale;

/// Messages between reader and engine: the readers wait when it is full.
const QUEUE: usize = 4096;
/// Shortest time between two looks.
const TICK_MIN: Duration = Duration::from_millis(100);
/// After so long without anything refused, all is well again.
const BOUNDS_CALM: Duration = Duration::from_mins(5);

/// Reads, looks and tells until it is stopped.
pub async fn work(life: &Life, settings: &Settings, node: NodeId) -> Result<()> {
    let scale = Scale::new(settings.time_scale);
    let mut engine = Engine::new(scale);
    engine.set_now(unix_now_ns());
    if settings.probes {
        engine.permit_probes();
    }
    let mut store = Store::open(life, node).await;
    engine.restore(store.restored());

    let (tell, mut inputs) = mpsc::channel(QUEUE);
    let mut behind = feed::start(life, &tell);
    let (mut told, mut told_at) = (Refused::default(), Instant::now());
    let mut ticks = interval(Duration::from_nanos(scale.bucket_ns).max(TICK_MIN));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(input) = inputs.recv() => match input {
                Input::Edges(batch) => engine.edges(&batch),
                Input::Signals(signals, stored_unix_ns) => engine.signals(&signals, stored_unix_ns),
                Input::Trace(batch) => engine.trace(&batch),
                Input::NoTrace { trace, node, why } => engine.no_trace(&trace, &node, &why),
                Input::CaughtUp => {
                    behind -= 1;
                    if behind == 0 {
                        life.ready();
                    }
                }
            },
            // Judging before all streams are read would be judging on half of the evidence.
            _ = ticks.tick(), if behind == 0 => {
                for incident in engine.tick(unix_now_ns()) {
                    store.tell(incident);
                }
                for request in engine.requests() {
                    probes::start(life, &tell, request);
                }
                for id in engine.gone() {
                    store.forget(id);
                }
                store.write(&engine).await;
                let refused = engine.refused();
                if refused != told {
                    (told, told_at) = (refused, Instant::now());
                    life.degrade("bounds", format!("not taken into account since the start: {refused}"));
                } else if told_at.elapsed() > BOUNDS_CALM {
                    life.recover("bounds");
                }
            }
        }
    }
}
