//! Reading the signals each time the agent tells its table's counters, and telling them.

use std::sync::mpsc::Receiver;

use anyhow::Result;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::signal::{NodeSignals, Observed};
use synscope_bus::outbox::Outbox;

use super::Sampler;
use crate::agent::{OwnTables, enter};
use crate::publish::put;
use crate::settings::Settings;

/// Runs until the agent ends, on this thread.
pub fn run(settings: &Settings, life: &Life, outbox: &Outbox, tables: &Receiver<OwnTables>) -> Result<()> {
    if let Some(netns) = &settings.netns {
        enter(netns)?;
    }
    let node = settings.node_id()?.to_string();
    let mut sampler = Sampler::new(settings.watched_netns.clone());
    while let Ok(tables) = tables.recv() {
        let signals = NodeSignals {
            node: node.clone(),
            time_unix_ns: unix_now_ns(),
            conntrack: Observed::Observed { value: tables.conntrack },
            ..sampler.sample(tables.fills)
        };
        say_what_is_not_observed(life, &signals);
        for (source, why) in sampler.left_out() {
            let what = format!("signal {source} left out");
            match why {
                Some(why) => life.degrade(&what, format!("not observed: {why}")),
                None => life.recover(&what),
            }
        }
        put(outbox, &signals);
    }
    Ok(())
}

fn say_what_is_not_observed(life: &Life, signals: &NodeSignals) {
    let NodeSignals { node: _, time_unix_ns: _, conntrack: _, maps, nf_conntrack, tcp, drops, softnet, pressure } =
        signals;
    say(life, "signal maps", maps);
    say(life, "signal nf_conntrack", nf_conntrack);
    say(life, "signal tcp", tcp);
    say(life, "signal drops", drops);
    say(life, "signal softnet", softnet);
    say(life, "signal pressure", pressure);
}

fn say<T>(life: &Life, what: &str, signal: &Observed<T>) {
    match signal {
        Observed::NotObserved { reason } => life.degrade(what, format!("not observed: {reason}")),
        _ => life.recover(what),
    }
}
