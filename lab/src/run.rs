//! Playing one scenario: load, bursts, and what synscope makes of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use synscope_bus::message::incident::{Finding, Incident, Recurrence, State};
use tokio::sync::watch;

use crate::cilium::CiliumMap;
use crate::client::Api;
use crate::cluster::Cluster;
use crate::load::{Load, Orders};
use crate::netns::{INVENTORY, SINK, Topology};
use crate::nf_conntrack::NfConntrack;
use crate::report::{Check, Loss, Report, say};
use crate::scenario::{End, Expected, Fault, Scenario};
use crate::watch::Watch;
use crate::wire::{Fault as WireFault, Wire};

/// How much faster than in life it is played: ten minutes take 20 s.
pub(crate) const TIME_SCALE: f64 = 30.0;
/// Traffic before the first burst.
const CALM: Duration = Duration::from_secs(12);
/// Bursts until the incident must be there: three, and one period to say so.
const BURSTS_TO_DETECT: usize = 5;
/// Bursts after the fix until it must be verified.
const BURSTS_TO_VERIFY: usize = 4;
/// Bursts without an incident before none is believed.
const BURSTS_QUIET: usize = 5;
/// The edge that everybody looks at; the incident must be told from its side.
const ORDER_TO_INVENTORY: &str = "shop/order->shop/inventory:80";
const ORDER_EVERY: Duration = Duration::from_millis(40);

/// Everything that runs; dropped in this order.
pub(crate) struct Stage {
    /// Ends first, so that nobody asks a server that is gone.
    _load: Load,
    pub(crate) watch: Watch,
    pub(crate) cluster: Cluster,
    wires: [Wire; 2],
    nf_conntrack: Option<NfConntrack>,
    _cilium: Option<CiliumMap>,
    /// Ends last: everything else is inside.
    _topology: Topology,
    orders: Arc<Orders>,
    batch: watch::Sender<bool>,
    closed: Arc<AtomicBool>,
    api: Api,
    interrupted: Arc<AtomicBool>,
    /// Programs to kill with -9, one in each burst.
    victims: Vec<&'static str>,
    started: Instant,
    bursts: usize,
    next_burst: Instant,
}

impl Stage {
    /// Sets everything up, and returns when the services are ready.
    pub(crate) fn set(scenario: &Scenario, bin: &Path, nats: &Path, record: Option<&Path>) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        say("making two nodes, four pods and a wire, as network namespaces");
        let topology = Topology::new()?;
        let wires = [Wire::start(&topology.wire)?, Wire::start(&topology.cable)?];
        let nf_conntrack = match scenario.fault {
            Fault::FillNfConntrack => Some(NfConntrack::track(&topology.node_b)?),
            _ => None,
        };
        let cilium = if scenario.cilium_map { Some(CiliumMap::new()?) } else { None };
        say("starting nats-server, an agent per node, analyzer and api");
        let mut cluster = Cluster::start(bin, nats)?;
        // Before the agents, so that no event comes before it.
        let watch = Watch::start(cluster.nats_port, record)?;
        cluster.start_services(&topology, scenario.tables, TIME_SCALE)?;
        let api = Api::new(cluster.api_port);
        let closed = Arc::new(AtomicBool::new(false));
        let mut load = Load::new();
        load.server(&topology.inventory, &format!("{INVENTORY}:80"), 64, closed.clone())?;
        load.server(&topology.sink, &format!("{SINK}:9000"), 4096, Arc::new(AtomicBool::new(false)))?;
        let ready = Instant::now() + Duration::from_secs(30);
        while !api.is_ready() {
            cluster.check()?;
            if Instant::now() > ready {
                bail!("the services are not ready after 30 s; their logs are in {}", cluster.logs().display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        say(&format!("order asks inventory every {} ms", ORDER_EVERY.as_millis()));
        let orders = load.orders(&topology.order, &format!("{INVENTORY}:80"), ORDER_EVERY)?;
        let (batch, on) = watch::channel(false);
        if let Fault::Batch(connections) | Fault::BatchAndSlowServer(connections, _) = scenario.fault {
            load.batch(&topology.batch, &format!("{SINK}:9000"), connections, on)?;
        }
        let started = Instant::now();
        Ok(Self {
            _load: load,
            watch,
            cluster,
            wires,
            nf_conntrack,
            _cilium: cilium,
            _topology: topology,
            orders,
            batch,
            closed,
            api,
            interrupted,
            victims: Vec::new(),
            started,
            bursts: 0,
            next_burst: started + CALM,
        })
    }

    fn fault(&self, fault: Fault, on: bool) -> Result<()> {
        let [wire, cable] = [self.wires[0].fault(), self.wires[1].fault()];
        let delay = |wire: &WireFault, delay| wire.delay_syns(if on { delay } else { Duration::ZERO });
        match fault {
            Fault::Batch(_) => drop(self.batch.send_replace(on)),
            Fault::DelaySyns(by) => delay(&wire, by),
            Fault::LoseSyns(percent) => wire.lose_syns(if on { percent } else { 0 }),
            Fault::BatchAndSlowServer(_, by) => {
                self.batch.send_replace(on);
                delay(&cable, by);
            }
            Fault::StopAccepting => self.closed.store(on, Relaxed),
            Fault::FillNfConntrack => {
                let table = self.nf_conntrack.as_ref().context("connection tracking was not set up")?;
                if on { table.fill()? } else { table.empty()? }
            }
        }
        Ok(())
    }

    /// Plays one burst and waits for the next, looking at the incidents meanwhile; ends early when `done` says so.
    fn burst(
        &mut self,
        scenario: &Scenario,
        mut done: impl FnMut(Option<&Incident>) -> bool,
    ) -> Result<Option<Incident>> {
        let start = self.next_burst;
        let until = start + scenario.schedule.interval(self.bursts);
        self.wait(start, &mut |_| false)?;
        self.bursts += 1;
        let slow = self.orders.slow.load(Relaxed);
        self.fault(scenario.fault, true)?;
        let killed = self.kill_one();
        let during = killed.and_then(|()| self.wait(start + scenario.burst, &mut |_| false));
        self.fault(scenario.fault, false)?;
        during?;
        // SYNs sent again need a little longer.
        self.wait((start + scenario.burst + Duration::from_secs(4)).min(until), &mut |_| false)?;
        let slow = self.orders.slow.load(Relaxed) - slow;
        say(&format!("burst {}: {slow} of order's connections took over 100 ms", self.bursts));
        self.next_burst = until;
        self.wait(until, &mut done)
    }

    /// What became of the events, once order has been silent long enough for all of them to arrive.
    pub(crate) fn loss(&self) -> Result<Loss> {
        self.orders.paused.store(true, Relaxed);
        let loss = self.watch.settled_loss();
        self.orders.paused.store(false, Relaxed);
        loss
    }

    /// Has one program killed with -9 in the middle of each burst from now on, each once.
    pub(crate) fn kill_in_turn(&mut self) {
        self.victims = vec!["node-b", "api", "node-a", "analyzer", "nats-server"];
    }

    fn kill_one(&mut self) -> Result<()> {
        let Some(victim) = self.victims.pop() else { return Ok(()) };
        std::thread::sleep(Duration::from_secs(1));
        say(&format!("killing {victim} with -9, and starting it again"));
        self.cluster.kill_and_restart(victim)
    }

    fn wait(&mut self, until: Instant, done: &mut dyn FnMut(Option<&Incident>) -> bool) -> Result<Option<Incident>> {
        loop {
            // While the API is starting again there is nothing to see.
            let incident = if self.api.is_up() { self.incident()? } else { None };
            if done(incident.as_ref()) || Instant::now() >= until {
                return Ok(incident);
            }
            self.cluster.check()?;
            ensure!(!self.interrupted.load(Relaxed), "interrupted");
            std::thread::sleep(Duration::from_millis(200).min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn wait_for_api(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(15);
        while !self.api.is_ready() {
            self.cluster.check()?;
            ensure!(Instant::now() < until, "the API is not ready after 15 s");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The incident; two at once would be one too many for every scenario.
    fn incident(&self) -> Result<Option<Incident>> {
        let mut incidents = self.api.incidents()?;
        if incidents.len() > 1 {
            let titles: Vec<_> = incidents.iter().map(|incident| incident.title.as_str()).collect();
            bail!("{} incidents instead of one: {}", incidents.len(), titles.join(" · "));
        }
        Ok(incidents.pop())
    }

    /// Seconds since the load began.
    fn clock(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// Plays it to its end.
pub(crate) fn play(scenario: &Scenario, stage: &mut Stage, report: &mut Report) -> Result<()> {
    let Some(expected) = scenario.expected else {
        for _burst in 0..BURSTS_QUIET {
            let found = stage.burst(scenario, |found| found.is_some())?;
            if found.is_some() {
                report.incident = found;
                break;
            }
        }
        let found = report.incident.as_ref().map_or("none".to_owned(), |incident| incident.title.clone());
        report.check(Check::equal("no incident", "none", &found));
        let slow = stage.orders.slow.load(Relaxed);
        report.check(Check::equal("slow connections as order saw them", "0", &slow.to_string()));
        return Ok(());
    };

    let mut found = None;
    let named = |incident: Option<&Incident>| {
        incident.is_some_and(|incident| incident.edges.first().is_some_and(|edge| edge == ORDER_TO_INVENTORY))
    };
    for _burst in 0..BURSTS_TO_DETECT {
        found = stage.burst(scenario, named)?;
        if named(found.as_ref()) {
            break;
        }
    }
    report.timing("found", stage.clock());
    if scenario.name == "seed" {
        slow_syn_report(stage, report)?;
    }
    let Some(incident) = found else {
        report.check(Check::equal("incident", expected.kind, "none"));
        return Ok(());
    };
    say(&format!("found: {}", incident.title));
    report.check(Check::new("found after bursts", stage.bursts <= 4, "at most 4", &stage.bursts.to_string()));
    diagnosis(scenario, &expected, &incident, report);
    report.incident = Some(incident);
    if expected.end == End::Verified {
        fix(scenario, stage, report)?;
    }
    Ok(())
}

/// The article's own script, as a question to the API.
fn slow_syn_report(stage: &Stage, report: &mut Report) -> Result<()> {
    let answer = stage.api.get("/v1/reports/slow-syns?above_ms=100")?;
    let found = answer["found"].as_u64().context("the report has no number of slow SYNs")?;
    let seen = stage.orders.slow.load(Relaxed);
    let same = found.abs_diff(seen) <= 1 + seen / 50;
    report.check(Check::new(
        "slow SYNs in the report",
        same,
        &format!("{seen}, as order saw them"),
        &found.to_string(),
    ));
    Ok(())
}

fn diagnosis(scenario: &Scenario, expected: &Expected, incident: &Incident, report: &mut Report) {
    report.check(Check::equal("edge", ORDER_TO_INVENTORY, incident.edges.first().map_or("none", String::as_str)));
    report.check(Check::equal("kind", expected.kind, &incident.kind));
    let cause = incident.causes.first().cloned().unwrap_or_default();
    report.check(Check::equal("first cause", expected.kind, &cause.name));
    report.check(Check::equal("finding", "Confirmed", &format!("{:?}", cause.finding)));
    if let Some(node) = expected.node {
        report.check(Check::equal("node", node, cause.node.as_deref().unwrap_or("none")));
    }
    if let Some(name) = expected.refuted {
        let refuted = incident.refuted.iter().find(|cause| cause.name == name);
        let numbers = refuted.is_some_and(|cause| !cause.evidence_against.is_empty());
        let actual = refuted.map_or("not weighed", |cause| cause.summary.as_str());
        report.check(Check::new(&format!("{name} is refuted with numbers"), numbers, "yes", actual));
    }
    if let Some(name) = expected.correlated {
        let found = incident.causes.iter().find(|cause| cause.name == name);
        let finding = found.map_or("not weighed".to_owned(), |cause| format!("{:?}", cause.finding));
        report.check(Check::equal(&format!("{name} is"), &format!("{:?}", Finding::Correlated), &finding));
    }
    let (retries, refused) =
        incident.spikes.iter().fold((0, 0), |sum, spike| (sum.0 + spike.retries, sum.1 + spike.refused));
    if expected.loss {
        report.check(Check::new("SYNs were sent again", retries > 0, "> 0", &retries.to_string()));
        let largest = incident.spikes.iter().map(|spike| spike.max_ns).max().unwrap_or(0);
        let steps = (950_000_000..16_000_000_000).contains(&largest);
        report.check(Check::new(
            "largest latency is a retransmission step",
            steps,
            "1 s or more",
            &format!("{:.3} s", seconds(largest)),
        ));
    } else {
        report.check(Check::equal("SYNs sent again", "0", &retries.to_string()));
    }
    if expected.kind == "ct-full" {
        report.check(Check::new("SYNs were refused", refused > 0, "> 0", &refused.to_string()));
    }
    recurrence(scenario, incident, report);
}

fn recurrence(scenario: &Scenario, incident: &Incident, report: &mut Report) {
    let said = format!("{:?}", incident.recurrence);
    match scenario.schedule {
        crate::scenario::Schedule::Every(period) => {
            let expected = seconds(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX));
            let ok = matches!(incident.recurrence, Recurrence::Regular { period_ns, .. } if (seconds(period_ns) / expected - 1.0).abs() <= 0.05);
            report.check(Check::new("period", ok, &format!("{expected} s ± 5 %"), &said));
        }
        crate::scenario::Schedule::Unequal(intervals) => {
            let shortest = intervals.iter().min().map_or(0.0, Duration::as_secs_f64);
            let longest = intervals.iter().max().map_or(0.0, Duration::as_secs_f64);
            let within = |ns: u64| (shortest - 1.5..=longest + 1.5).contains(&seconds(ns));
            let ok = matches!(incident.recurrence, Recurrence::Irregular { min_ns, max_ns, .. } if within(min_ns) && within(max_ns));
            report.check(Check::new("interval", ok, &format!("irregular, {shortest} to {longest} s"), &said));
        }
    }
}

fn fix(scenario: &Scenario, stage: &mut Stage, report: &mut Report) -> Result<()> {
    let incident = report.incident.clone().context("no incident to fix")?;
    let summary = incident.fix.as_ref().map(|fix| fix.summary.clone()).unwrap_or_default();
    say(&format!("applying its fix through the API: {summary}"));
    stage.wait_for_api()?;
    stage.api.apply_fix(&incident.id)?;
    report.timing("fixed", stage.clock());
    let slow_before = stage.orders.slow.load(Relaxed);
    let ended = |incident: Option<&Incident>| {
        incident
            .is_some_and(|incident| matches!(incident.state, State::Verified | State::Inconclusive | State::Reopened))
    };
    for _burst in 0..BURSTS_TO_VERIFY {
        let found = stage.burst(scenario, ended)?;
        let done = ended(found.as_ref());
        report.incident = found;
        if done {
            break;
        }
    }
    report.timing("verified", stage.clock());
    let after = report.incident.as_ref().map_or("gone".to_owned(), |incident| format!("{:?}", incident.state));
    report.check(Check::equal("state after the fix", "Verified", &after));
    // On a machine that is busy with something else one or the other is slow for that.
    let allowed = slow_before / 10;
    let slow = stage.orders.slow.load(Relaxed) - slow_before;
    let expected = format!("at most {allowed}, a tenth of before");
    report.check(Check::new(
        "slow connections since the fix, as order saw them",
        slow <= allowed,
        &expected,
        &slow.to_string(),
    ));
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
