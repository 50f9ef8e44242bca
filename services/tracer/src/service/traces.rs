//! All traces of this tracer: those that run, and the latest that ended.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use synscope_bus::command::ANSWER;
use synscope_bus::command::tracer::{
    Activity, CheckTrace, Checked, StartProbe, StartScript, Started, Terms, TraceResults, TraceSource, TraceStatus,
};
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::{DRAIN, Life, unix_now_ns};
use synscope_bus::message::trace::TraceState;
use synscope_bus::subject::TraceId;
use tokio::runtime::Handle;

use super::compile::check_only;
use super::ending::Term;
use super::publish::Publisher;
use super::settings::Settings;
use super::trace::{Trace, Work};

/// Traces that ended and are still told about; the oldest go first.
const ENDED_KEPT: usize = 64;
/// Bytes of a script.
const SCRIPT_MAX: usize = 64 << 10;
/// Before whoever asked gives up.
const ANSWER_WITHIN: Duration = ANSWER.saturating_sub(Duration::from_millis(300));
/// How long all traces have to end with the service.
const END_ALL: Duration = Duration::from_secs(2);

/// The traces of one tracer.
#[derive(Debug, Clone)]
pub struct Traces {
    life: Life,
    settings: Arc<Settings>,
    publisher: PublisherId,
    /// Where messages are sent from.
    runtime: Handle,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    traces: BTreeMap<String, Arc<Trace>>,
    /// What those came to that are not told about any more.
    forgotten: Activity,
}

impl Known {
    fn forget(&mut self, trace: &str) {
        if let Some(trace) = self.traces.remove(trace) {
            self.forgotten.add(&trace.status());
        }
    }
}

impl Traces {
    /// None yet.
    pub fn new(life: &Life, settings: Settings, publisher: PublisherId) -> Self {
        let (life, settings, runtime) = (life.clone(), Arc::new(settings), Handle::current());
        Self { life, settings, publisher, runtime, known: Arc::default() }
    }

    /// Says what is wrong with a script, and how it would be attached.
    pub fn check(&self, asked: &CheckTrace) -> Result<Checked, String> {
        if let TraceSource::Script(script) = &asked.source {
            bounded(&script.text)?;
        }
        check_only(&asked.source, &self.settings)
    }

    /// Runs a script, where scripts may be run.
    pub fn start_script(&self, asked: StartScript) -> Result<Started, String> {
        if !self.settings.scripts {
            return Err("own scripts are off on this node: configuration key \"scripts\"".to_owned());
        }
        bounded(&asked.script.text)?;
        self.start(TraceSource::Script(asked.script), &asked.terms)
    }

    /// Runs a curated probe, where those may be run.
    pub fn start_probe(&self, asked: StartProbe) -> Result<Started, String> {
        if !self.settings.probes {
            return Err("curated probes are off on this node: configuration key \"probes\"".to_owned());
        }
        self.start(TraceSource::Probe(asked.probe), &asked.terms)
    }

    /// How each trace is, running ones and the latest that ended.
    pub fn list(&self) -> Vec<TraceStatus> {
        self.known().traces.values().map(|trace| trace.status()).collect()
    }

    /// What all traces come to, since the tracer began.
    pub fn activity(&self) -> Activity {
        let known = self.known();
        let mut all = known.forgotten.clone();
        known.traces.values().for_each(|trace| all.add(&trace.status()));
        Activity { running_max: self.settings.traces as u64, ..all }
    }

    /// What a trace has found.
    pub fn results(&self, trace: &str) -> Result<TraceResults, String> {
        Ok(self.trace(trace)?.results())
    }

    /// Renews a trace's lease.
    pub fn renew(&self, trace: &str) -> Result<TraceStatus, String> {
        let trace = self.trace(trace)?;
        trace.renew();
        Ok(trace.status())
    }

    /// Ends a trace, and waits until nothing of it is left.
    pub fn stop(&self, trace: &str) -> Result<TraceResults, String> {
        let trace = self.trace(trace)?;
        trace.stop();
        if until(ANSWER_WITHIN, || trace.has_ended()) {
            Ok(trace.results())
        } else {
            Err("the trace was told to end, and has not ended yet".to_owned())
        }
    }

    /// Waits, once the service was told to end, until all traces have; gives how many have not.
    pub fn ended(&self) -> usize {
        let running = || self.known().traces.values().filter(|trace| !trace.has_ended()).count();
        until(END_ALL, || running() == 0);
        running()
    }

    fn start(&self, source: TraceSource, terms: &Terms) -> Result<Started, String> {
        let id = TraceId::new(terms.trace.clone()).map_err(|error| format!("the trace's name: {error}"))?;
        let limits = self.settings.limits.within(terms.limits);
        let allowed_ms = self.settings.duration_s.saturating_mul(1000);
        let duration = Duration::from_millis(terms.duration_ms.map_or(allowed_ms, |asked| asked.min(allowed_ms)));
        let began_unix_ns = unix_now_ns();
        let trace = Arc::new(Trace::new(TraceStatus {
            trace: id.to_string(),
            node: self.publisher.node.to_string(),
            probe: match &source {
                TraceSource::Probe(probe) => Some(probe.name.clone()),
                TraceSource::Script(_) => None,
            },
            state: TraceState::Starting,
            started_unix_ns: began_unix_ns,
            until_unix_ns: began_unix_ns + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2),
            lease_ms: terms.lease_ms,
            limits: limits.into(),
            ..TraceStatus::default()
        }));
        self.enter(&id, &trace)?;
        let term = Term {
            until: Instant::now() + duration,
            lease: terms.lease_ms.map(Duration::from_millis),
            away: self.settings.away(),
        };
        let (answer, answered) = sync_channel(1);
        let name = format!("trace {id}");
        let (traces, working) = (self.clone(), trace.clone());
        let work = move || {
            let _in_runtime = traces.runtime.enter();
            let work = Work { trace: &working, life: &traces.life, rules: &traces.settings, limits, term };
            let publisher = || Publisher::new(&traces.life, &traces.publisher, id.clone());
            if let Some(publisher) = work.run(&source, publisher, &answer) {
                traces.retire(&publisher);
            }
        };
        if let Err(error) = thread::Builder::new().name(name).spawn(work) {
            self.known().traces.remove(&terms.trace);
            return Err(format!("the trace has no thread: {error}"));
        }
        match answered.recv_timeout(ANSWER_WITHIN) {
            Ok(started) => started,
            // It takes its time on a slow machine; whoever asks for it sees when it runs.
            Err(RecvTimeoutError::Timeout) => Ok(Started { trace: Some(trace.status()), diagnostics: Vec::new() }),
            Err(RecvTimeoutError::Disconnected) => Err("the trace's thread has ended without a word".to_owned()),
        }
    }

    /// Notes a new trace, if there is room for it.
    fn enter(&self, id: &TraceId, trace: &Arc<Trace>) -> Result<(), String> {
        let mut known = self.known();
        // The name of one that never ran is free.
        if known.traces.get(id.as_str()).is_some_and(|trace| !trace.never_ran()) {
            return Err(format!("there is a trace {id} already"));
        }
        let running = known.traces.values().filter(|trace| !trace.has_ended()).count();
        if running >= self.settings.traces {
            return Err(format!("{running} traces run already, {} are allowed at once", self.settings.traces));
        }
        let ended = |known: &BTreeMap<String, Arc<Trace>>| {
            let ended = known.iter().filter(|(_, trace)| trace.has_ended());
            let mut ended: Vec<_> = ended.map(|(id, trace)| (trace.status().ended_unix_ns, id.clone())).collect();
            ended.sort();
            ended
        };
        let all = ended(&known.traces);
        for (_, oldest) in all.iter().take((all.len() + 1).saturating_sub(ENDED_KEPT)) {
            known.forget(oldest);
        }
        known.forget(id.as_str());
        known.traces.insert(id.to_string(), trace.clone());
        Ok(())
    }

    /// Lets a trace's last messages out.
    fn retire(&self, publisher: &Publisher) {
        // While the service ends, all of its outboxes are drained together.
        if !self.life.is_stopped() {
            let (life, outbox) = (self.life.clone(), publisher.outbox().clone());
            self.runtime.spawn(async move {
                let lost = life.retire(&outbox, DRAIN).await;
                if lost > 0 {
                    tracing::warn!(subject = outbox.subject(), lost, "a trace ended with messages that were not sent");
                }
            });
        }
    }

    fn trace(&self, trace: &str) -> Result<Arc<Trace>, String> {
        self.known().traces.get(trace).cloned().ok_or_else(|| format!("there is no trace {trace:?} on this node"))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // No code panics while it holds the lock, so a poisoned lock still guards a whole map.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(script: &str) -> Result<(), String> {
    let length = script.len();
    if length > SCRIPT_MAX { Err(format!("the script has {length} bytes, {SCRIPT_MAX} are allowed")) } else { Ok(()) }
}

/// Waits for something to be so; whether it is.
fn until(wait: Duration, is_so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + wait;
    while !is_so() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}
