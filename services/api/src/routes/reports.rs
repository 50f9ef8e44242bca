//! Reports for people.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use synscope_bus::life::unix_now_ns;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::problem::Problem;
use crate::query::{Moment, Parameters};
use crate::route::{Answer, Call};
use crate::store::flows::Flow;
use crate::store::lock;

/// A SYN above this is slow when nothing else is asked for, ms.
const ABOVE_MS: u64 = 100;
/// Lines in the list of the slowest.
const SLOWEST: usize = 10;

/// Which slow SYNs are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SlowSynsQuery {
    /// Only SYNs sent then or later; all that are kept when absent.
    pub since: Option<Moment>,
    /// Only SYNs sent before then; until now when absent.
    pub until: Option<Moment>,
    /// Above which latency a SYN is slow, ms; 100 when absent.
    pub above_ms: Option<u64>,
}

impl Parameters for SlowSynsQuery {}

/// One slow SYN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SlowSyn {
    /// When it was sent, RFC 3339 UTC.
    pub time: String,
    /// The same in Unix ns.
    pub time_unix_ns: u64,
    /// `<source>:<source port>-><destination>`, workloads where they are known.
    pub connection: String,
    /// First SYN to SYN-ACK, ns.
    pub latency_ns: u64,
}

/// Slow SYNs of one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hour {
    /// The hour, such as `2026-01-02T03`, UTC.
    pub hour: String,
    /// Slow SYNs sent in it.
    pub count: u64,
}

/// Slow SYNs: how many, which were the slowest, and when they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SlowSyns {
    /// Above which latency a SYN is slow, ms.
    pub above_ms: u64,
    /// How many there were; one that two nodes saw counts once.
    pub found: usize,
    /// Connections that failed or were refused, and have no latency.
    pub unmeasured: usize,
    /// The ten slowest.
    pub slowest: Vec<SlowSyn>,
    /// How many in which hour.
    pub hours: Vec<Hour>,
}

/// The report as JSON or as text.
#[derive(Debug)]
pub enum SlowSynsAnswer {
    /// JSON.
    Json(SlowSyns),
    /// Text.
    Text(String),
}

impl IntoResponse for SlowSynsAnswer {
    fn into_response(self) -> Response {
        match self {
            Self::Json(report) => Json(report).into_response(),
            Self::Text(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        }
    }
}

impl Answer for SlowSynsAnswer {
    fn content(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![
            ("application/json", generator.subschema_for::<SlowSyns>()),
            ("text/plain", generator.subschema_for::<String>()),
        ]
    }
}

/// `GET /v1/reports/slow-syns`.
pub async fn slow_syns(call: Call, asked: SlowSynsQuery) -> Result<SlowSynsAnswer, Problem> {
    let now = unix_now_ns();
    let since = asked.since.map_or(0, |since| since.unix_ns(now));
    let until = asked.until.map_or(u64::MAX, |until| until.unix_ns(now));
    let flows: Vec<Arc<Flow>> = lock(&call.app.store.slows).iter().cloned().collect();
    let above_ms = asked.above_ms.unwrap_or(ABOVE_MS);
    // Many are compared: too long for a thread that answers others too.
    let made = tokio::task::spawn_blocking(move || {
        let sent = flows.iter().filter(|flow| (since..until).contains(&sent_unix_ns(flow)));
        report(sent.map(AsRef::as_ref), above_ms)
    });
    let report = made.await.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(if wants_text(&call.headers) { SlowSynsAnswer::Text(report.text()) } else { SlowSynsAnswer::Json(report) })
}

/// The first of the two media types in the header counts.
fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut media = accept.split(',').filter_map(|part| part.split(';').next()).map(str::trim);
    media.find(|media| matches!(*media, "text/plain" | "application/json" | "*/*")) == Some("text/plain")
}

fn sent_unix_ns(flow: &Flow) -> u64 {
    flow.event.first_syn_unix_ns.unwrap_or(flow.event.time_unix_ns)
}

fn report<'a>(flows: impl Iterator<Item = &'a Flow>, above_ms: u64) -> SlowSyns {
    // Both ends' nodes tell of one connection; the client's latency is the longer one.
    let mut slowest_view: HashMap<_, &Flow> = HashMap::new();
    for flow in flows {
        let event = &flow.event;
        let first = event.initial_sequence.map_or_else(|| sent_unix_ns(flow), u64::from);
        let key = (&event.source, event.source_port, &event.destination, event.destination_port, first);
        let view = slowest_view.entry(key).or_insert(flow);
        if flow.latency_ns > view.latency_ns {
            *view = flow;
        }
    }
    let unmeasured = slowest_view.values().filter(|flow| flow.latency_ns.is_none()).count();
    let limit_ns = above_ms.saturating_mul(1_000_000);
    let slow = slowest_view.into_values().filter_map(|flow| Some((flow, flow.latency_ns.filter(|ns| *ns > limit_ns)?)));
    let mut slow: Vec<_> = slow.map(|(flow, latency_ns)| slow_syn(flow, latency_ns)).collect();
    slow.sort_by(|a, b| b.latency_ns.cmp(&a.latency_ns).then(a.time_unix_ns.cmp(&b.time_unix_ns)));
    let mut hours: BTreeMap<String, u64> = BTreeMap::new();
    for syn in &slow {
        *hours.entry(syn.time.chars().take("2026-01-02T03".len()).collect()).or_default() += 1;
    }
    let found = slow.len();
    slow.truncate(SLOWEST);
    let hours = hours.into_iter().map(|(hour, count)| Hour { hour, count }).collect();
    SlowSyns { above_ms, found, unmeasured, slowest: slow, hours }
}

fn slow_syn(flow: &Flow, latency_ns: u64) -> SlowSyn {
    let event = &flow.event;
    let time_unix_ns = sent_unix_ns(flow);
    let source = event.source_workload.as_ref().unwrap_or(&event.source);
    let destination = event.destination_workload.as_ref().unwrap_or(&event.destination);
    SlowSyn {
        time: rfc3339(time_unix_ns),
        time_unix_ns,
        connection: format!("{source}:{}->{destination}", event.source_port),
        latency_ns,
    }
}

fn rfc3339(unix_ns: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns)).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| unix_ns.to_string())
}

impl SlowSyns {
    /// The report's lines, as the script that operators know prints them.
    pub fn text(&self) -> String {
        let mut text =
            format!("Found {} slow SYN packets (>{}ms)\n\nTop {SLOWEST} slowest:\n", self.found, self.above_ms);
        // Writing to a string cannot fail.
        let _written: std::fmt::Result = self.write_lines(&mut text);
        text
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds are printed with two digits")]
    fn write_lines(&self, text: &mut String) -> std::fmt::Result {
        for SlowSyn { time, connection, latency_ns, .. } in &self.slowest {
            writeln!(text, " {time}: {connection} - {:.2}ms", *latency_ns as f64 / 1e6)?;
        }
        if !self.hours.is_empty() {
            writeln!(text, "\nTime distribution of slow SYNs:")?;
        }
        for Hour { hour, count } in &self.hours {
            writeln!(text, " {hour}: {count} slow SYNs")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use synscope_bus::message::flow::FlowEvent;

    use super::*;
    use crate::store::flows::Flows;

    const HOUR_NS: u64 = 3600 * 1_000_000_000;
    /// 2026-01-02T03:00:00Z.
    const START: u64 = 1_767_322_800_000_000_000;

    fn flow(flows: &mut Flows, port: u16, sent: u64, latency_ms: Option<u64>) -> Arc<Flow> {
        let event = FlowEvent {
            source: "10.0.0.1".into(),
            source_workload: Some("shop/order".into()),
            source_port: port,
            destination: "10.0.0.2".into(),
            initial_sequence: Some(u32::from(port)),
            first_syn_unix_ns: Some(sent),
            server_latency_ns: latency_ms.map(|ms| ms * 1_000_000 + 250_000),
            ..FlowEvent::default()
        };
        flows.add("n", event)
    }

    #[test]
    fn the_text_is_the_scripts() {
        let mut flows = Flows::new(100);
        let given = [
            flow(&mut flows, 1, START, Some(3000)),
            flow(&mut flows, 1, START, Some(2000)),
            flow(&mut flows, 2, START + HOUR_NS, Some(1000)),
            flow(&mut flows, 3, START, Some(99)),
            flow(&mut flows, 4, START, None),
        ];
        let report = report(given.iter().map(AsRef::as_ref), 100);
        assert_eq!((report.found, report.unmeasured), (2, 1));
        let expected = "Found 2 slow SYN packets (>100ms)

Top 10 slowest:
 2026-01-02T03:00:00Z: shop/order:1->10.0.0.2 - 3000.25ms
 2026-01-02T04:00:00Z: shop/order:2->10.0.0.2 - 1000.25ms

Time distribution of slow SYNs:
 2026-01-02T03: 1 slow SYNs
 2026-01-02T04: 1 slow SYNs
";
        assert_eq!(report.text(), expected);
    }

    #[test]
    fn only_the_ten_slowest_are_listed_and_none_is_no_distribution() {
        let mut flows = Flows::new(100);
        let given: Vec<_> = (1..=20).map(|port| flow(&mut flows, port, START, Some(100 + u64::from(port)))).collect();
        let all = report(given.iter().map(AsRef::as_ref), 100);
        assert_eq!((all.found, all.slowest.len(), all.hours[0].count), (20, 10, 20));
        assert!(all.slowest.is_sorted_by_key(|syn| std::cmp::Reverse(syn.latency_ns)));
        let none = report(given.iter().map(AsRef::as_ref), 1000).text();
        assert_eq!(none, "Found 0 slow SYN packets (>1000ms)\n\nTop 10 slowest:\n");
    }

    #[test]
    fn the_first_media_type_counts() {
        for (accept, text) in [
            ("text/plain", true),
            ("text/plain; charset=utf-8, */*", true),
            ("application/json, text/plain", false),
            ("*/*", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wants_text(&headers), text, "{accept}");
        }
    }
}
