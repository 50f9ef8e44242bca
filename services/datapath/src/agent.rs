//! The thread that owns the kernel side: it sweeps, looks after interfaces, and answers.
//!
//! One thread, in the node's network namespace, because interface names and most of what a node says about itself
//! belong to the namespace of who asks.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use synscope_abi::counter::Counter;
use synscope_bus::command::datapath::{HookStatus, Status, TableStatus};
use synscope_bus::document::Desired;
use synscope_bus::life::Life;
use synscope_bus::message::signal::{Conntrack, MapFill};
use synscope_bus::reasons::reasons;
use tokio::sync::watch;

use crate::conntrack::{self, ConntrackError};
use crate::follow::Wish;
use crate::interfaces::{Interfaces, Xdp};
use crate::kernel::{Fill, Kernel, Options};
use crate::names::Directory;
use crate::publish::Publisher;
use crate::questions::{Asked, Question};
use crate::reader::Reader;
use crate::settings::{Policy, Settings};

/// Longest time between two looks at what is due.
const TICK: Duration = Duration::from_millis(50);
/// Between two looks at the interfaces.
const SCAN: Duration = Duration::from_secs(1);

/// What the agent needs from the rest of the service.
pub struct Surroundings {
    /// Where degradations are said.
    pub life: Life,
    /// Names, as they are learned.
    pub names: Directory,
    /// Gets the own tables' counters, once per reading of signals.
    pub table: SyncSender<OwnTables>,
    /// What the node is asked to be like.
    pub wishes: watch::Receiver<Wish>,
    /// What the agent is asked.
    pub asked: Asked,
}

/// What the agent knows about its own tables.
#[derive(Debug, Clone)]
pub struct OwnTables {
    /// The fuller one, with the counters of both.
    pub conntrack: Conntrack,
    /// Both, as BPF maps among others.
    pub fills: Vec<MapFill>,
}

struct Agent {
    settings: Settings,
    kernel: Kernel,
    reader: Reader,
    interfaces: Interfaces,
    around: Surroundings,
    swept: Option<Duration>,
    wish: Wish,
    /// The last wish that was understood.
    desired: Option<Desired>,
    desired_error: Option<String>,
}

/// Puts this thread into a network namespace.
pub fn enter(netns: &Path) -> Result<()> {
    let file = File::open(netns).with_context(|| format!("network namespace {}", netns.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("network namespace {}", netns.display()))
}

/// Loads, attaches and runs, on this thread, until told to stop; records go to `publisher`.
pub fn run(settings: Settings, publisher: Publisher, around: Surroundings) -> Result<()> {
    if let Some(netns) = &settings.netns {
        enter(netns)?;
    }
    let options = Options {
        pins: Some(&settings.pins),
        entries: settings.conntrack_entries,
        mode: settings.kernel_mode()?,
        timeouts: settings.kernel_timeouts(),
        heartbeat: Duration::from_secs(settings.heartbeat_s),
    };
    let mut kernel = Kernel::load(&options).context("cannot load the kernel programs")?;
    let reader = Reader::start(&mut kernel, publisher, around.names.clone())?;
    let xdp = Xdp::load(settings.xdp);
    let interfaces = Interfaces::new(settings.interface_patterns()?, settings.pins.clone(), xdp);
    let mut agent = Agent {
        settings,
        kernel,
        reader,
        interfaces,
        around,
        swept: None,
        wish: Ok(None),
        desired: None,
        desired_error: None,
    };
    if !agent.kernel.degradations().is_empty() {
        agent.around.life.degrade("kernel", agent.kernel.degradations().join("; "));
    }
    agent.scan();
    agent.around.life.ready();
    agent.work()
}

impl Agent {
    fn work(mut self) -> Result<()> {
        let sweep_every = Duration::from_millis(self.settings.sweep_ms);
        let signal_every = Duration::from_millis(self.settings.signals_ms);
        let start = Instant::now();
        let (mut scanned, mut swept, mut signalled) = (start, start, start);
        loop {
            match self.around.asked.waiting.recv_timeout(TICK) {
                Ok(question) => self.answer(question),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.around.life.is_stopped() || self.reader.is_over() {
                break;
            }
            // Whoever followed it is gone only with the process.
            if self.around.wishes.has_changed().unwrap_or(false) {
                self.wish = self.around.wishes.borrow_and_update().clone();
                self.reconcile();
            }
            let now = Instant::now();
            if now.duration_since(swept) >= sweep_every {
                swept = now;
                self.sweep();
            }
            if now.duration_since(scanned) >= SCAN {
                scanned = now;
                self.scan();
            }
            if now.duration_since(signalled) >= signal_every {
                signalled = now;
                match self.around.table.try_send(self.table()?) {
                    // A reader that is behind gets the next one: counters lose nothing.
                    Ok(()) | Err(TrySendError::Full(_)) => {}
                    // It ends only by an error, which it tells itself.
                    Err(TrySendError::Disconnected(_)) => break,
                }
            }
        }
        self.reader.finish()
    }

    fn sweep(&mut self) {
        match self.kernel.sweep() {
            Ok(took) => {
                self.swept = Some(took);
                self.around.life.recover("sweep");
                // What it took out or moved may be what was in the way.
                if self.desired_error.is_some() {
                    self.reconcile();
                }
            }
            Err(error) => self.around.life.degrade("sweep", reasons(&error)),
        }
    }

    fn scan(&mut self) {
        if let Err(error) = self.interfaces.scan(&mut self.kernel) {
            return self.around.life.degrade("interfaces", format!("cannot be listed: {error}"));
        }
        let hooks = self.interfaces.status();
        let first = |hook: &&HookStatus| hook.attached && hook.why.is_some();
        match hooks.iter().find(first) {
            None => self.around.life.recover("hooks"),
            Some(hook) => {
                let (count, all) = (hooks.iter().filter(first).count(), hooks.len());
                let HookStatus { interface, hook, mechanism, why, .. } = hook;
                let why = why.as_deref().unwrap_or_default();
                let what =
                    format!("{count} of {all} hooks could be better, first {interface} {hook} ({mechanism}): {why}");
                self.around.life.degrade("hooks", what);
            }
        }
        let missing: Vec<_> = hooks.iter().filter(|hook| !hook.attached).collect();
        match missing.first() {
            None if hooks.is_empty() => {
                let patterns = self.settings.interfaces.join(", ");
                self.around.life.degrade("interfaces", format!("none matches {patterns}"));
            }
            None => self.around.life.recover("interfaces"),
            Some(first) => {
                let why = first.why.as_deref().unwrap_or_default();
                let what = format!(
                    "{} of {} hooks are not attached, first {} {}: {why}",
                    missing.len(),
                    hooks.len(),
                    first.interface,
                    first.hook
                );
                self.around.life.degrade("interfaces", what);
            }
        }
    }

    fn answer(&self, question: Question) {
        let names = &self.around.names;
        let said = |error: ConntrackError| reasons(&error);
        // Whoever asked and did not wait for the answer does not need it.
        let _not_waited_for = match question {
            Question::Status(answer) => answer.send(self.status()).map_err(drop),
            Question::List(query, answer) => {
                answer.send(conntrack::list(&self.kernel, names, &query).map_err(said)).map_err(drop)
            }
            Question::Top(query, answer) => {
                answer.send(conntrack::top(&self.kernel, names, &query).map_err(said)).map_err(drop)
            }
        };
    }

    /// What is not understood changes nothing; the error stays until there is a wish that is.
    fn reconcile(&mut self) {
        let reached = self.wish.clone().and_then(|desired| {
            let entries = desired.as_ref().and_then(|desired| desired.conntrack_entries);
            self.desired = desired;
            self.resize(entries.unwrap_or(self.settings.conntrack_entries)).map_err(|error| format!("{error:#}"))
        });
        self.desired_error = reached.err();
        match &self.desired_error {
            None => self.around.life.recover("desired"),
            Some(why) => self.around.life.degrade("desired", why.clone()),
        }
    }

    fn resize(&mut self, entries: u32) -> Result<()> {
        let [v4, v6] = self.kernel.fill()?;
        if v4.max != u64::from(entries) {
            let resized = self.kernel.resize_v4(entries)?;
            tracing::info!(from = v4.max, to = entries, moved = resized.moved, left = resized.left, took = ?resized.took, "IPv4 table resized");
        }
        if v6.max != u64::from(entries) {
            let resized = self.kernel.resize_v6(entries)?;
            tracing::info!(from = v6.max, to = entries, moved = resized.moved, left = resized.left, took = ?resized.took, "IPv6 table resized");
        }
        Ok(())
    }

    fn status(&self) -> Status {
        // None where they cannot be read, which ends the agent: it reads them for its signals, too.
        let fills = self.kernel.fill().into_iter().flat_map(|fills| [4, 6].into_iter().zip(fills));
        let tables = fills.map(|(family, fill)| TableStatus { family, live: fill.live, max: fill.max });
        let (edges_refused, foreign_records) = self.reader.counts();
        let counters = Counter::ALL.iter().filter_map(|counter| {
            let value = self.kernel.counter(*counter).ok()?;
            Some((counter.name().to_owned(), value))
        });
        Status {
            node: self.around.life.name().1.to_owned(),
            mode: match self.settings.mode {
                Policy::Observe => "observe".to_owned(),
                Policy::Enforce => "enforce".to_owned(),
            },
            hooks: self.interfaces.status(),
            tables: tables.collect(),
            counters: counters.collect(),
            desired: self.desired.clone(),
            desired_error: self.desired_error.clone(),
            sweep_cost_ns: self.swept.map(nanos),
            edges_refused,
            foreign_records,
            questions_refused: self.around.asked.refused(),
            names_refused: self.around.names.read().refused(),
        }
    }

    /// The fuller of the two tables with both tables' counters, and both as maps.
    fn table(&self) -> Result<OwnTables> {
        let [v4, v6] = self.kernel.fill()?;
        let own = |name: &str, fill: Fill| MapFill {
            id: fill.id,
            name: name.to_owned(),
            kind: "hash".to_owned(),
            owner: Some("synscope".to_owned()),
            live: fill.live,
            max: fill.max,
            estimate: false,
        };
        let fills = vec![own("FLOWS_V4", v4), own("FLOWS_V6", v6)];
        let fuller = if v6.live * v4.max > v4.live * v6.max { v6 } else { v4 };
        let count = |counter| self.kernel.counter(counter);
        let failures = BTreeMap::from([
            ("E2BIG".to_owned(), count(Counter::InsertFull)?),
            ("ENOMEM".to_owned(), count(Counter::InsertNoMemory)?),
            ("EBUSY".to_owned(), count(Counter::InsertBusy)?),
            ("other".to_owned(), count(Counter::InsertOther)?),
        ]);
        let conntrack = Conntrack {
            live: fuller.live,
            max: fuller.max,
            inserts: count(Counter::Inserted)?,
            insert_failures: failures,
            refused_syns: count(Counter::PendingStored)? + count(Counter::PendingFailed)?,
            dropped_syns: count(Counter::DroppedFull)?,
            sweep_cost_ns: self.swept.map(nanos),
        };
        Ok(OwnTables { conntrack, fills })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
