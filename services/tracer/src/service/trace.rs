//! One trace, from its source to its end, on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use synscope_bus::command::tracer::{Diagnostic, Started, TraceResults, TraceSource, TraceStatus};
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::trace::{Ending, Line, TraceLosses, TraceState};
use synscope_bus::reasons::reasons;
use synscope_bus::snapshot::Snapshot;

use super::compile::{CompileError, Compiled, compile};
use super::ending::{Around, LineRate, Term, exceeded};
use super::lines::Lines;
use super::panic::said;
use super::publish::Publisher;
use super::settings::{LimitSettings, Settings};
use super::snapshots::Telling;
use crate::load::Spent;
use crate::run::{self, Ended, Losses, RunError};

/// How long records wait at most before they are looked at.
const POLL: Duration = Duration::from_millis(10);
/// Between two looks at what was spent, and between two batches of lines.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at the maps.
const MAPS: Duration = Duration::from_secs(1);
/// Reading maps takes at most one part in so many of the time.
const MAPS_SHARE: u32 = 10;

/// What others see of a trace, and how they end it.
#[derive(Debug)]
pub(super) struct Trace {
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    results: TraceResults,
    renewed: Instant,
    /// Whether it was ever attached.
    ran: bool,
}

impl Trace {
    pub(super) fn new(status: TraceStatus) -> Self {
        let results = TraceResults { status, first: 1, ..TraceResults::default() };
        Self { state: Mutex::new(State { results, renewed: Instant::now(), ran: false }), stop: AtomicBool::new(false) }
    }

    pub(super) fn status(&self) -> TraceStatus {
        self.state().results.status.clone()
    }

    pub(super) fn results(&self) -> TraceResults {
        self.state().results.clone()
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state().results.status.state, TraceState::Ended { .. })
    }

    /// Whether it ended before it was attached.
    pub(super) fn never_ran(&self) -> bool {
        self.has_ended() && !self.state().ran
    }

    pub(super) fn renew(&self) {
        self.state().renewed = Instant::now();
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut TraceResults)) {
        change(&mut self.state().results);
    }

    /// Publishes and keeps the same in one step: who hears of it and asks gets no less, and who sees that the trace has
    /// ended knows that its last message is on its way.
    fn tell(&self, publisher: &mut Publisher, state: TraceState, lines: Vec<Line>, maps: Option<Vec<Snapshot>>) {
        self.update(|results| {
            publisher.publish(&state, lines, maps, results.status.losses);
            let found = publisher.found();
            results.maps.clone_from(&found.maps);
            results.first = found.first();
            results.lines = found.lines.iter().cloned().collect();
            enter(&mut results.status, state);
        });
    }
}

fn enter(status: &mut TraceStatus, state: TraceState) {
    if matches!(state, TraceState::Ended { .. }) {
        status.ended_unix_ns = Some(unix_now_ns());
    }
    status.state = state;
}

fn failed(reason: String) -> TraceState {
    TraceState::Ended { ending: Ending::Failed { reason } }
}

/// What a trace runs with.
#[derive(Debug)]
pub(super) struct Work<'t> {
    pub(super) trace: &'t Trace,
    pub(super) life: &'t Life,
    pub(super) rules: &'t Settings,
    pub(super) limits: LimitSettings,
    pub(super) term: Term,
}

/// What came of starting a trace, for whoever waits for it.
pub(super) type Answer = SyncSender<Result<Started, String>>;

impl Work<'_> {
    /// Runs a trace to its end; `answer` is told once it is attached, or why it is not. Gives what it published, where it
    /// ever ran.
    pub(super) fn run(
        &self,
        source: &TraceSource,
        publisher: impl FnOnce() -> Publisher,
        answer: &Answer,
    ) -> Option<Publisher> {
        self.guarded(answer, |told| self.attempt(source, publisher, answer, told))
    }

    /// Does the work of a trace; where it panics, the trace has failed.
    fn guarded(&self, answer: &Answer, work: impl FnOnce(&mut Option<Publisher>)) -> Option<Publisher> {
        let mut told = None;
        // What the trace made in the kernel goes while the stack unwinds. What else it changes is its own, and ends here.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&mut told))) {
            let reason = format!("the trace's thread panicked: {}", said(&*panic));
            tracing::error!(trace = self.trace.status().trace, reason, "trace failed");
            match &mut told {
                Some(publisher) => self.trace.tell(publisher, failed(reason.clone()), Vec::new(), None),
                None => self.fail(reason.clone()),
            }
            // Whoever asked may have an answer already.
            drop(answer.try_send(Err(reason)));
        }
        self.life.recover(&self.concern());
        told
    }

    fn attempt(
        &self,
        source: &TraceSource,
        begin: impl FnOnce() -> Publisher,
        answer: &Answer,
        told: &mut Option<Publisher>,
    ) {
        let compiled = match compile(source, self.rules, self.limits) {
            Ok(compiled) => compiled,
            Err(CompileError::Script(diagnostics)) => return self.refuse(answer, Ok(diagnostics)),
            Err(error) => return self.refuse(answer, Err(error.to_string())),
        };
        self.trace.update(|results| results.status.probes = compiled.attach_points());
        let mut lines = Lines::default();
        let running = match run::Trace::begin(&compiled.script, &compiled.lowered, &mut lines) {
            Ok(running) => running,
            Err(RunError::Load(error)) => {
                return self.refuse(answer, compiled.refused(error).map_err(|error| reasons(&error)));
            }
            Err(error) => return self.refuse(answer, Err(reasons(&error))),
        };
        let publisher = told.insert(begin());
        self.trace.state().ran = true;
        self.trace.tell(publisher, TraceState::Running, lines.take(), None);
        let started = Started { trace: Some(self.trace.status()), diagnostics: compiled.diagnostics.clone() };
        // Whoever asked may not wait any more, and sees by the trace's state that it runs.
        drop(answer.send(Ok(started)));
        self.carry(&compiled, running, lines, publisher);
    }

    /// Says why a trace does not run: by what is wrong with its script, or in words. Whoever asked may not wait any more:
    /// it stays with the trace, too.
    fn refuse(&self, answer: &Answer, why: Result<Vec<Diagnostic>, String>) {
        self.fail(why.as_ref().err().cloned().unwrap_or_else(|| "the script does not run".to_owned()));
        drop(answer.send(why.map(|diagnostics| Started { trace: None, diagnostics })));
    }

    fn fail(&self, reason: String) {
        self.trace.update(|results| enter(&mut results.status, failed(reason)));
    }

    /// What its troubles are named by in the tracer's health.
    fn concern(&self) -> String {
        format!("trace {}", self.trace.status().trace)
    }

    /// Carries out what the running trace finds, until there is a reason to end it.
    fn carry(&self, compiled: &Compiled, mut running: run::Trace<'_>, mut lines: Lines, publisher: &mut Publisher) {
        let telling = Telling::new(compiled.curated.as_ref());
        let begun = Instant::now();
        let mut rate = LineRate::new(begun);
        let (mut looked, mut next_maps, mut away_since) = (begun, begun + MAPS, None);
        let ending = loop {
            let seen = match running.carry(&mut lines) {
                Ok(seen) => seen,
                Err(error) => break Ending::Failed { reason: reasons(&error) },
            };
            let now = Instant::now();
            if let Some(code) = running.exited() {
                break Ending::Exited { code };
            }
            let nats = self.life.connection().is_connected();
            away_since = if nats { None } else { away_since.or(Some(now)) };
            let over = self.term.over(self.around(now, away_since));
            if let Some(ending) = over.or_else(|| rate.exceeded(now, lines.count, self.limits.lines_per_second)) {
                break ending;
            }
            if now.duration_since(looked) >= LOOK {
                looked = now;
                let spent = self.look(&running, &lines);
                if let Some(ending) = exceeded(spent, self.limits) {
                    break ending;
                }
                let maps = if now >= next_maps { self.maps(&running, &telling, &mut next_maps) } else { None };
                let written = lines.take();
                if maps.is_some() || !written.is_empty() {
                    self.trace.tell(publisher, TraceState::Running, written, maps);
                }
            }
            if seen == 0 {
                std::thread::sleep(POLL);
            }
        };
        self.look(&running, &lines);
        let ending = match running.end(&mut lines) {
            Ok(Ended { code: _, losses }) => {
                self.trace.update(|results| {
                    let Losses { records, values, hits } = losses;
                    let cut = results.status.losses.cut;
                    results.status.losses = TraceLosses { records, values, hits, cut };
                });
                ending
            }
            Err(error) => Ending::Failed { reason: reasons(&error) },
        };
        self.end(ending, &telling, lines, publisher);
    }

    fn around(&self, now: Instant, away_since: Option<Instant>) -> Around {
        Around {
            now,
            renewed: self.trace.state().renewed,
            away_since,
            stopped: self.trace.stop.load(Ordering::Relaxed),
            tracer_ended: self.life.is_stopped(),
        }
    }

    /// Notes what was spent, written and lost so far.
    fn look(&self, running: &run::Trace<'_>, lines: &Lines) -> Spent {
        let spent = running.spent().unwrap_or_default();
        let losses = running.losses();
        self.trace.update(|results| {
            let status = &mut results.status;
            (status.hits, status.run_ns, status.lines, status.losses.cut) =
                (spent.hits, spent.run_ns, lines.count, lines.cut);
            if let Ok(Losses { records, values, hits }) = losses {
                status.losses = TraceLosses { records, values, hits, cut: lines.cut };
            }
        });
        if self.trace.status().losses != TraceLosses::default() {
            self.life.degrade(&self.concern(), "it loses output or hits: its status says how many".to_owned());
        }
        spent
    }

    fn maps(&self, running: &run::Trace<'_>, telling: &Telling, next: &mut Instant) -> Option<Vec<Snapshot>> {
        let begun = Instant::now();
        let read = running.snapshots();
        *next = begun + MAPS.max(begun.elapsed() * MAPS_SHARE);
        match read {
            Ok(maps) => Some(telling.told(&maps)),
            Err(error) => {
                tracing::warn!(trace = self.trace.status().trace, %error, "maps cannot be read");
                None
            }
        }
    }

    /// Tells the end, once nothing is left in the kernel.
    fn end(&self, ending: Ending, telling: &Telling, mut lines: Lines, publisher: &mut Publisher) {
        lines.finish();
        let maps = lines.last.as_ref().map(|maps| telling.told(maps));
        let written = lines.take();
        self.trace.update(|results| {
            (results.status.losses.cut, results.status.lines) = (lines.cut, lines.count);
        });
        let status = self.trace.status();
        tracing::info!(trace = status.trace, ?ending, hits = status.hits, lines = lines.count, "trace ended");
        self.trace.tell(publisher, TraceState::Ended { ending }, written, maps);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use synscope_bus::command::tracer::Script;
    use synscope_bus::connection::Connection;
    use synscope_bus::envelope::PublisherId;
    use synscope_bus::subject::{NodeId, TraceId};

    use super::*;

    /// Maps of this name in the kernel; programs that use a map keep it.
    fn maps(name: &str) -> usize {
        let maps = aya::maps::loaded_maps().map(Result::unwrap);
        maps.filter(|map| map.name_as_str() == Some(name)).count()
    }

    async fn life() -> Life {
        // Nobody is there: that is not needed.
        Life::begin("tracer", "node-a", Connection::start("nats://127.0.0.1:1", "test").await.unwrap()).unwrap()
    }

    fn work<'t>(trace: &'t Trace, life: &'t Life, rules: &'t Settings) -> Work<'t> {
        let term = Term { until: Instant::now() + Duration::from_mins(1), lease: None, away: rules.away() };
        Work { trace, life, rules, limits: rules.limits, term }
    }

    fn starting() -> Trace {
        Trace::new(TraceStatus { trace: "t-1".into(), state: TraceState::Starting, ..TraceStatus::default() })
    }

    fn panicked(reason: &str) -> TraceState {
        failed(format!("the trace's thread panicked: {reason}"))
    }

    #[tokio::test]
    async fn a_panic_before_a_trace_runs_is_told_and_leaves_nothing() {
        let (life, rules, trace) = (life().await, Settings::default(), starting());
        let (answer, answered) = sync_channel(1);
        let text = "rawtracepoint:sched_process_exit { @panicked[pid] = count(); }".to_owned();
        let source = TraceSource::Script(Script { text, parameters: Vec::new() });
        // All is attached by then.
        let publisher = || {
            assert_eq!(maps("at_panicked"), 1);
            panic!("no outbox")
        };
        assert!(work(&trace, &life, &rules).run(&source, publisher, &answer).is_none());
        assert_eq!(trace.status().state, panicked("no outbox"));
        assert!(trace.status().ended_unix_ns.is_some() && trace.never_ran());
        assert_eq!(answered.try_recv().unwrap().unwrap_err(), "the trace's thread panicked: no outbox");
        let begun = Instant::now();
        // The kernel frees them a little later.
        while maps("at_panicked") > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "its maps are still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_panic_while_a_trace_runs_is_told_to_who_listens() {
        let (life, rules, trace) = (life().await, Settings::default(), starting());
        let (answer, answered) = sync_channel(1);
        let published = work(&trace, &life, &rules).guarded(&answer, |told| {
            let id = PublisherId::begin(NodeId::new("node-a").unwrap());
            *told = Some(Publisher::new(&life, &id, TraceId::new("t-1").unwrap()));
            trace.state().ran = true;
            trace.update(|results| results.status.state = TraceState::Running);
            answer.send(Ok(Started::default())).unwrap();
            panic!("number {}", 7)
        });
        assert_eq!((trace.status().state, trace.never_ran()), (panicked("number 7"), false));
        assert_eq!(published.unwrap().outbox().counts().waiting, 1);
        assert_eq!(answered.try_recv().unwrap().unwrap(), Started::default());
    }
}
