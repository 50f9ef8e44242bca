//! Metrics for Prometheus.

use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use synscope_bus::command::tracer::Activity;
use synscope_bus::inbox::Counts;
use synscope_bus::message::signal::{NodeSignals, Observed};
use synscope_bus::message::trace::TraceLosses;

use super::nodes::fill_ratio;
use crate::app::App;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::{Answer, Call};
use crate::store::lock;

/// Media type of the text format.
const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics as text.
#[derive(Debug)]
pub struct Exposition(String);

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, MEDIA)], self.0).into_response()
    }
}

impl Answer for Exposition {
    fn content(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![("application/openmetrics-text", String::json_schema(generator))]
    }
}

/// `GET /metrics`.
pub async fn get(call: Call, _: Nothing) -> Result<Exposition, Problem> {
    let mut scrape = Scrape::default();
    let latest: Vec<_> = lock(&call.app.store.signals).latest().values().cloned().collect();
    scrape.clocks(&call.app, &latest);
    scrape.tables(&latest);
    scrape.edges(&call.app);
    scrape.feeds(&call.app);
    scrape.services(&call.app);
    scrape.traces(&call.app);
    let mut text = String::new();
    text::encode(&mut text, &scrape.registry).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(Exposition(text))
}

type Labels = Vec<(&'static str, String)>;

/// What is known at the moment of one scrape.
#[derive(Debug)]
struct Scrape {
    registry: Registry,
}

impl Default for Scrape {
    fn default() -> Self {
        Self { registry: Registry::with_prefix("synscope") }
    }
}

impl Scrape {
    fn counter(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }

    fn gauge(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.registry.register(name, help, family);
    }

    fn seconds(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Counter<f64, std::sync::atomic::AtomicU64>>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }

    #[expect(clippy::cast_precision_loss, reason = "offsets of clocks are far below 2^53 ns")]
    fn clocks(&mut self, app: &App, latest: &[Arc<NodeSignals>]) {
        let signals = lock(&app.store.signals);
        let offset = |of: &Arc<NodeSignals>| {
            let ns = signals.clock_offset_ns(&of.node)?;
            Some((vec![("node", of.node.clone())], ns as f64 / 1e9))
        };
        let offsets: Vec<_> = latest.iter().filter_map(offset).collect();
        drop(signals);
        self.gauge("node_clock_offset_seconds", "How far a node's clock is behind the NATS server's", offsets);
    }

    /// Sources that were not read have no sample: never zero in its place.
    fn tables(&mut self, latest: &[Arc<NodeSignals>]) {
        let of_node = |signals: &NodeSignals| vec![("node", signals.node.clone())];
        let tables = || latest.iter().filter_map(|signals| Some((of_node(signals), signals.conntrack.value()?)));
        let entries =
            |(labels, table): (Labels, &synscope_bus::message::signal::Conntrack)| (labels, count(table.live));
        self.gauge("conntrack_entries", "Entries of the fuller connection table", tables().map(entries));
        let capacity = tables().map(|(labels, table)| (labels, count(table.max)));
        self.gauge("conntrack_entries_max", "Capacity of the fuller connection table", capacity);
        let fill = tables().filter_map(|(labels, table)| Some((labels, fill_ratio(table.live, table.max)?)));
        self.gauge("conntrack_fill_ratio", "Fill of the fuller connection table", fill);
        self.counter("conntrack_inserts", "Entries made", tables().map(|(labels, table)| (labels, table.inserts)));
        let refused = tables().map(|(labels, table)| (labels, table.refused_syns));
        self.counter("conntrack_refused_syns", "SYNs that found no room", refused);
        let dropped = tables().map(|(labels, table)| (labels, table.dropped_syns));
        self.counter("conntrack_dropped_syns", "SYNs dropped for want of room", dropped);
        let failures = tables().flat_map(|(labels, table)| {
            let failure = move |(errno, value): (&String, &u64)| {
                ([labels.clone(), vec![("errno", errno.clone())]].concat(), *value)
            };
            table.insert_failures.iter().map(failure)
        });
        self.counter("conntrack_insert_failures", "Failed insertions by errno", failures);
        let kernel = || {
            let read = latest.iter().filter_map(|signals| Some((signals, signals.nf_conntrack.value()?)));
            read.flat_map(|(signals, tables)| {
                let labels = |netns: u64| vec![("node", signals.node.clone()), ("netns", netns.to_string())];
                tables.iter().map(move |table| (labels(table.netns), table))
            })
        };
        let entries = kernel().map(|(labels, table)| (labels, count(table.live)));
        self.gauge("nf_conntrack_entries", "Entries of the kernel's own connection tracking", entries);
        let capacity = kernel().map(|(labels, table)| (labels, count(table.max)));
        self.gauge("nf_conntrack_entries_max", "Capacity of the kernel's own connection tracking", capacity);
        let drops = latest.iter().filter_map(|signals| Some((signals, signals.drops.value()?)));
        let drops = drops.flat_map(|(signals, drops)| {
            drops
                .iter()
                .map(move |drop| (vec![("node", signals.node.clone()), ("reason", drop.reason.clone())], drop.packets))
        });
        self.counter("dropped_packets", "Packets dropped by reason", drops);
        let maps = latest.iter().filter_map(|signals| Some((signals, signals.maps.value()?)));
        let maps = maps.flat_map(|(signals, maps)| {
            maps.iter().filter_map(move |map| {
                let owner = map.owner.clone().unwrap_or_default();
                let labels = [("node", &signals.node), ("map", &map.name), ("owner", &owner)];
                let mut labels: Labels = labels.into_iter().map(|(name, value)| (name, value.clone())).collect();
                labels.push(("id", map.id.to_string()));
                Some((labels, fill_ratio(map.live, map.max)?))
            })
        });
        self.gauge("map_fill_ratio", "Fill of BPF maps", maps);
    }

    fn edges(&mut self, app: &App) {
        let totals = lock(&app.store.edges).totals().clone();
        let each = |of: fn(&crate::store::edges::Totals) -> u64| {
            let totals = totals.iter().map(move |((edge, vantage), totals)| {
                let vantage = format!("{vantage:?}").to_lowercase();
                (vec![("edge", edge.clone()), ("vantage", vantage)], of(totals))
            });
            totals.collect::<Vec<_>>()
        };
        self.counter("edge_handshakes", "Handshakes measured", each(|totals| totals.n));
        self.counter("edge_slow_handshakes", "Slow handshakes", each(|totals| totals.slow));
        self.counter("edge_syn_retries", "SYNs sent again", each(|totals| totals.retries));
        self.counter("edge_refused_syns", "SYNs refused by the node", each(|totals| totals.refused));
        self.counter("edge_dropped_syns", "SYNs dropped of those refused", each(|totals| totals.dropped));
        self.counter("edge_failed_handshakes", "Handshakes that never completed", each(|totals| totals.failed));
        self.counter("edge_reset_handshakes", "Failed handshakes that a reset ended", each(|totals| totals.reset));
    }

    fn feeds(&mut self, app: &App) {
        let counts = app.feeds.counts();
        let feeds =
            [("flows", counts.flows), ("slows", counts.slows), ("edges", counts.edges), ("signals", counts.signals)];
        let each = |of: fn(&Counts) -> u64| {
            feeds.iter().map(move |(feed, counts)| (vec![("feed", (*feed).to_owned())], of(counts))).collect::<Vec<_>>()
        };
        self.counter("feed_messages", "Messages received", each(|counts| counts.gaps.received));
        self.counter("feed_missing_messages", "Messages missing by their numbers", each(|counts| counts.gaps.missing));
        self.counter("feed_foreign_messages", "Messages that were none of ours", each(|counts| counts.foreign));
        let lost = lock(&app.store.flows).lost().clone();
        let lost = lost.into_iter().map(|(node, lost)| (vec![("node", node)], lost));
        self.counter("lost_flow_events", "Flow events that a node lost before they were sent", lost);
        let missed = Counter::<u64>::default();
        missed.inc_by(app.missed());
        self.registry.register("stream_missed_events", "Events that slow readers of streams missed", missed);
    }

    fn services(&mut self, app: &App) {
        let mut healths = vec![app.life.health()];
        let mut up = Vec::new();
        for ((service, node), instance) in lock(&app.store.services).known() {
            let labels = vec![("service", (*service).to_owned()), ("node", node.clone())];
            up.push((labels, if instance.health.value().is_some() { 1.0 } else { 0.0 }));
            if let Observed::Observed { value } = &instance.health {
                healths.push(value.clone());
            }
        }
        self.gauge("service_up", "Whether the instance answered when it was last asked", up);
        let dropped = healths.into_iter().flat_map(|health| {
            health.outboxes.into_iter().map(move |(subject, counts)| {
                let labels = [("service", &health.service), ("node", &health.node), ("subject", &subject)];
                (labels.into_iter().map(|(name, value)| (name, value.clone())).collect::<Labels>(), counts.dropped)
            })
        });
        self.counter(
            "outbox_dropped_messages",
            "Messages dropped for want of room while NATS was away, or larger than it takes",
            dropped,
        );
    }

    /// Tracers that did not answer have no sample: never zero in its place.
    #[expect(clippy::cast_precision_loss, reason = "times of programs are far below 2^53 ns")]
    fn traces(&mut self, app: &App) {
        let services = lock(&app.store.services);
        let activities = services.known().iter().filter_map(|((_, node), instance)| {
            Some((vec![("node", node.clone())], instance.activity.as_ref()?.value()?.clone()))
        });
        let activities: Vec<(Labels, Activity)> = activities.collect();
        drop(services);
        let each =
            |of: fn(&Activity) -> u64| activities.iter().map(move |(labels, activity)| (labels.clone(), of(activity)));
        let by = |name: &'static str, of: fn(&Activity) -> Vec<(String, u64)>| {
            activities.iter().flat_map(move |(labels, activity)| {
                let labelled = |(value, number)| ([labels.clone(), vec![(name, value)]].concat(), number);
                of(activity).into_iter().map(labelled).collect::<Vec<_>>()
            })
        };
        let gauge = |of: fn(&Activity) -> u64| each(of).map(|(labels, value)| (labels, count(value)));
        self.gauge("traces_running", "Traces that run, or are about to", gauge(|all| all.running));
        self.gauge("traces_running_max", "Traces that may run at once", gauge(|all| all.running_max));
        let ended = by("why", |all| all.ended.iter().map(|(why, ended)| (why.clone(), *ended)).collect());
        self.counter("traces_ended", "Traces that ended, by why", ended);
        let exceeded =
            by("limit", |all| all.exceeded.iter().map(|(limit, ended)| (limit.name().to_owned(), *ended)).collect());
        self.counter("trace_limits_exceeded", "Traces that ended because they exceeded a limit", exceeded);
        self.counter("trace_hits", "Hits of traces' probes", each(|all| all.hits));
        self.counter("trace_lines", "Lines that traces wrote", each(|all| all.lines));
        let seconds = activities.iter().map(|(labels, all)| (labels.clone(), all.run_ns as f64 / 1e9));
        self.seconds("trace_run_seconds", "Time that traces' programs took, on all CPUs", seconds);
        let lost = by("what", |all| {
            let TraceLosses { records, values, hits, cut } = all.losses;
            let lost = [("records", records), ("values", values), ("hits", hits), ("cut_lines", cut)];
            lost.map(|(what, lost)| (what.to_owned(), lost)).to_vec()
        });
        self.counter(
            "trace_losses",
            "Records and values of traces that found no room, hits that were missed, lines that were cut",
            lost,
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of entries needs no more than 53 bits")]
fn count(entries: u64) -> f64 {
    entries as f64
}
