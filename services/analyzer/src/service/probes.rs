//! Starts the probes that the engine asks for on the nodes' tracers, and hands on what they tell.
//!
//! Whatever a tracer does or does not, it is no trouble of the analyzer's: it is told to the engine, and logged. A probe
//! ends by its duration; where the analyzer is gone before, by its lease.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use synscope_bus::command::tracer::{Limits, Probe, RenewTrace, StartProbe, Started, StopTrace, Terms};
use synscope_bus::command::{CommandError, ask};
use synscope_bus::inbox::Inbox;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::trace::{TraceBatch, TraceState};
use synscope_bus::reasons::reasons;
use synscope_bus::subject::{TraceId, Wildcard};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::feed::Input;
use synscope_engine::probe::Request;

/// A probe ends when the analyzer did not renew it for so long.
const LEASE: Duration = Duration::from_secs(15);
/// Between two renewals: some may fail before the lease is over.
const RENEW: Duration = Duration::from_millis(3750);
/// A probe that has not ended so long after its time is told to.
const GRACE: Duration = Duration::from_secs(5);
/// What nobody watches may cost less than what somebody asked for; the rest is as each node allows.
const LIMITS: Limits = Limits {
    hits_per_second: Some(50_000),
    cpu_permille: Some(50),
    lines_per_second: None,
    probes: None,
    map_entries: None,
    memory_bytes: None,
};

/// Starts a probe on its nodes; what it tells goes to the engine until it has ended.
pub(super) fn start(life: &Life, tell: &mpsc::Sender<Input>, request: Request) {
    let Request { trace, incident, nodes, why, .. } = &request;
    tracing::info!(trace, incident, probe = request.kind.name(), ?nodes, why, "asks for a probe");
    let following = Following { life: life.clone(), tell: tell.clone(), request };
    // The engine asks for few, and each ends by itself.
    tokio::spawn(following.run());
}

/// One probe on its nodes.
struct Following {
    life: Life,
    tell: mpsc::Sender<Input>,
    request: Request,
}

impl Following {
    async fn run(self) {
        let trace = &self.request.trace;
        let subject = match TraceId::new(trace.clone()) {
            Ok(id) => Wildcard::Trace(id).to_string(),
            Err(error) => return self.give_up(&format!("the trace has no name: {error}")).await,
        };
        // First this, so that nothing is missed that the probe tells at once.
        let mut messages = match self.life.connection().client().subscribe(subject).await {
            Ok(messages) => messages,
            Err(error) => return self.give_up(&reasons(&error)).await,
        };
        let mut running = self.begin().await;
        let left = Duration::from_nanos(self.request.until_unix_ns.saturating_sub(unix_now_ns()));
        let end = sleep_until(Instant::now() + left + GRACE);
        tokio::pin!(end);
        let mut renewals = interval_at(Instant::now() + RENEW, RENEW);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inbox = Inbox::default();
        while !running.is_empty() {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { break };
                    let Some(received) = inbox.read::<TraceBatch>(&message) else { continue };
                    let batch = received.message;
                    if let TraceState::Ended { ending } = &batch.state && running.remove(&batch.node) {
                        tracing::info!(trace, node = batch.node, ?ending, "a probe has ended");
                    }
                    if self.tell.send(Input::Trace(Box::new(batch))).await.is_err() {
                        return;
                    }
                }
                _ = renewals.tick() => self.renew(&mut running).await,
                () = &mut end => break,
            }
        }
        for node in running {
            let stopped = ask(self.life.connection(), &node, &StopTrace { trace: trace.clone() }).await;
            tracing::warn!(trace, node, ?stopped, "a probe was told to end, as it did not by itself");
        }
    }

    /// Starts it everywhere; the nodes on which it runs.
    async fn begin(&self) -> BTreeSet<String> {
        let Request { trace, kind, port, nodes, until_unix_ns, .. } = &self.request;
        let parameters = port.iter().map(|port| ("port".to_owned(), port.to_string())).collect();
        let left_ms = until_unix_ns.saturating_sub(unix_now_ns()) / 1_000_000;
        let lease_ms = u64::try_from(LEASE.as_millis()).ok();
        let question = StartProbe {
            probe: Probe { name: kind.name().to_owned(), parameters },
            terms: Terms { trace: trace.clone(), duration_ms: Some(left_ms), lease_ms, limits: LIMITS },
        };
        let asked = nodes.iter().map(async |node| (node, ask(self.life.connection(), node, &question).await));
        let mut running = BTreeSet::new();
        for (node, answer) in join_all(asked).await {
            match answer {
                Ok(Started { trace: Some(_), .. }) => {
                    running.insert(node.clone());
                }
                Ok(Started { trace: None, diagnostics }) => {
                    let said: Vec<String> = diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect();
                    self.tell_not(node, format!("it does not run on this kernel: {}", said.join("; "))).await;
                }
                Err(error) => self.tell_not(node, reasons(&error)).await,
            }
        }
        running
    }

    /// Renews it everywhere; where it is not known any more, it does not run.
    async fn renew(&self, running: &mut BTreeSet<String>) {
        let renewal = RenewTrace { trace: self.request.trace.clone() };
        let asked = running.iter().map(async |node| (node.clone(), ask(self.life.connection(), node, &renewal).await));
        for (node, answer) in join_all(asked).await {
            // A tracer that is silent may be back before the lease is over.
            if let Err(CommandError::Refused(why)) = answer {
                running.remove(&node);
                self.tell_not(&node, format!("it does not run any more: {why}")).await;
            }
        }
    }

    async fn give_up(&self, why: &str) {
        for node in &self.request.nodes {
            self.tell_not(node, why.to_owned()).await;
        }
    }

    async fn tell_not(&self, node: &str, why: String) {
        let trace = self.request.trace.clone();
        tracing::warn!(trace, node, why, "a probe does not run");
        if self.tell.send(Input::NoTrace { trace, node: node.to_owned(), why }).await.is_err() {
            tracing::debug!(node, "nobody listens any more");
        }
    }
}
