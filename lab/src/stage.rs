//! Everything that runs while a scenario is played, and the bursts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use synscope_bus::message::incident::Incident;
use tokio::sync::watch;

use crate::cilium::CiliumMap;
use crate::client::Api;
use crate::cluster::Cluster;
use crate::load::{Load, Orders};
use crate::netns::{INVENTORY, SINK, Topology};
use crate::nf_conntrack::NfConntrack;
use crate::report::{Loss, say};
use crate::scenario::{AT_ONCE, Fault, Scenario};
use crate::watch::Watch;
use crate::wire::{Fault as WireFault, Wire};

/// How much faster than in life it is played: ten minutes take 20 s.
pub(crate) const TIME_SCALE: f64 = 30.0;
/// Traffic before the first burst.
const CALM: Duration = Duration::from_secs(12);
/// The services must be ready by then.
const READY: Duration = Duration::from_secs(30);
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
    topology: Topology,
    pub(crate) orders: Arc<Orders>,
    batch: watch::Sender<bool>,
    closed: Arc<AtomicBool>,
    pub(crate) api: Api,
    interrupted: Arc<AtomicBool>,
    /// Programs to kill with -9, one in each burst.
    victims: Vec<&'static str>,
    started: Instant,
    pub(crate) bursts: usize,
    next_burst: Instant,
}

impl Stage {
    /// Sets everything up, and returns when the services are ready.
    pub(crate) fn set(
        scenario: &Scenario,
        bin: &Path,
        nats: &Path,
        record: Option<&Path>,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self> {
        say("making two nodes, four pods and a wire, as network namespaces");
        let topology = Topology::new()?;
        let wires = [Wire::start(&topology.wire)?, Wire::start(&topology.cable)?];
        let nf_conntrack = match scenario.fault {
            Fault::FillNfConntrack => Some(NfConntrack::track(&topology.node_b)?),
            _ => None,
        };
        let cilium = if scenario.cilium_map { Some(CiliumMap::new()?) } else { None };
        say("starting nats-server, an agent and a tracer per node, analyzer and api");
        let mut cluster = Cluster::start(bin, nats)?;
        // Before the agents, so that no event comes before it.
        let watch = Watch::start(&cluster, record)?;
        cluster.start_services(&topology, scenario.tables, TIME_SCALE)?;
        let api = Api::new(cluster.api_port);
        let closed = Arc::new(AtomicBool::new(false));
        let mut load = Load::new();
        load.server(&topology.inventory, &format!("{INVENTORY}:80"), 64, closed.clone())?;
        load.server(&topology.sink, &format!("{SINK}:9000"), 4096, Arc::new(AtomicBool::new(false)))?;
        let ready = wait_for_api(&api, &mut cluster, &interrupted);
        if ready.is_err() {
            cluster.keep_logs();
        }
        ready.with_context(|| format!("the services' logs are in {}", cluster.logs().display()))?;
        say(&format!("order asks inventory every {} ms", ORDER_EVERY.as_millis()));
        let orders = load.orders(&topology.order, &format!("{INVENTORY}:80"), ORDER_EVERY)?;
        let (batch, on) = watch::channel(false);
        let job = match scenario.fault {
            Fault::Batch(connections, within) => Some((connections, within)),
            Fault::BatchAndSlowServer(connections, _) => Some((connections, AT_ONCE)),
            _ => None,
        };
        if let Some((connections, within)) = job {
            load.batch(&topology.batch, &format!("{SINK}:9000"), connections, within, on)?;
        }
        let started = Instant::now();
        Ok(Self {
            _load: load,
            watch,
            cluster,
            wires,
            nf_conntrack,
            _cilium: cilium,
            topology,
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
            Fault::Batch(..) => drop(self.batch.send_replace(on)),
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
    pub(crate) fn burst(
        &mut self,
        scenario: &Scenario,
        mut done: impl FnMut(Option<&Incident>) -> bool,
    ) -> Result<Option<Incident>> {
        let start = self.next_burst;
        let until = start + scenario.schedule.interval(self.bursts);
        self.wait(start, &mut |_| false)?;
        self.bursts += 1;
        let (slow, failed) = self.slow_and_failed();
        self.fault(scenario.fault, true)?;
        let killed = self.kill_one(start + scenario.burst / 2);
        let during = killed.and_then(|()| self.wait(start + scenario.burst, &mut |_| false));
        self.fault(scenario.fault, false)?;
        during?;
        // SYNs sent again need a little longer.
        self.wait((start + scenario.burst + Duration::from_secs(4)).min(until), &mut |_| false)?;
        if let Some(table) = &self.nf_conntrack {
            table.prepare()?;
        }
        let (slow_by_now, failed_by_now) = self.slow_and_failed();
        let (slow, failed) = (slow_by_now - slow, failed_by_now - failed);
        say(&format!("burst {}: {slow} of order's connections took over 100 ms, {failed} failed", self.bursts));
        self.next_burst = until;
        self.wait(until, &mut done)
    }

    /// The namespace of the pod that asks.
    pub(crate) fn order(&self) -> PathBuf {
        self.topology.order.path()
    }

    fn slow_and_failed(&self) -> (usize, u64) {
        (self.orders.slow().len(), self.orders.failed.load(Relaxed))
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

    fn kill_one(&mut self, at: Instant) -> Result<()> {
        let Some(victim) = self.victims.pop() else { return Ok(()) };
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
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

    /// Waits until the API takes requests, which it does not while it starts again.
    pub(crate) fn wait_for_api(&mut self) -> Result<()> {
        wait_for_api(&self.api, &mut self.cluster, &self.interrupted)
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
    pub(crate) fn clock(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

fn wait_for_api(api: &Api, cluster: &mut Cluster, interrupted: &AtomicBool) -> Result<()> {
    let until = Instant::now() + READY;
    while !api.is_ready() {
        cluster.check()?;
        ensure!(!interrupted.load(Relaxed), "interrupted");
        ensure!(Instant::now() < until, "the services are not ready after {} s", READY.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
