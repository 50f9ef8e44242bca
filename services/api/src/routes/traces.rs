//! Traces: started, listed, read and ended on all their nodes at once.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use synscope_bus::command::CommandError;
use synscope_bus::command::tracer::{
    CheckTrace, Checked, Diagnostic, GetResults, Limits, ListTraces, Probe, Script, StartProbe, StartScript, Started,
    StopTrace, Terms, TraceResults, TraceSource, TraceStatus,
};
use synscope_bus::configuration::refuse_unknown;
use synscope_bus::life::unix_now_ns;
use synscope_bus::reasons::reasons;
use synscope_bus::snapshot::{Merged, merge};
use synscope_bus::subject::TraceId;

use crate::access::Right;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::Call;
use crate::tracers::{self, Answers};

/// How long a trace without a duration outlives its last reader, ms.
pub const LEASE_MS: u64 = 15_000;

/// A trace to start: a script, or a probe.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceRequest {
    /// A script of one's own.
    pub script: Option<String>,
    /// The values of the script's `$1`, `$2`, ….
    pub arguments: Vec<String>,
    /// A curated probe.
    pub probe: Option<String>,
    /// Values of the probe's parameters; those that are not here have their defaults.
    pub parameters: BTreeMap<String, String>,
    /// The nodes, by name or by labels, such as `zone=a`, or `zone=a,rack=7` for those that have both; all that have a
    /// tracer when absent.
    pub nodes: Option<Vec<String>>,
    /// How long it runs at most, ms; when absent, it ends 15 s after nobody reads its stream any more.
    pub duration_ms: Option<u64>,
    /// What it may cost; each node has limits of its own that it cannot exceed.
    #[serde(deserialize_with = "strict")]
    pub limits: Limits,
}

/// A script or a probe to check.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckRequest {
    /// A script of one's own.
    pub script: Option<String>,
    /// The values of the script's `$1`, `$2`, ….
    pub arguments: Vec<String>,
    /// A curated probe.
    pub probe: Option<String>,
    /// Values of the probe's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The node whose kernel it is checked against; any when absent.
    pub node: Option<String>,
}

/// Reads a part of a body in which a key that it has not is a mistake.
fn strict<'de, D: Deserializer<'de>, T: Serialize + DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    let given = serde_json::Value::deserialize(from)?;
    let known = serde_json::to_value(T::default()).map_err(D::Error::custom)?;
    refuse_unknown(&given, &known).map_err(D::Error::custom)?;
    serde_json::from_value(given).map_err(D::Error::custom)
}

/// A node that did not do as asked, and why.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NodeProblem {
    /// The node.
    pub node: String,
    /// Why.
    pub reason: String,
    /// What there is to say about the script.
    pub diagnostics: Vec<Diagnostic>,
}

/// A trace that was started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TraceStarted {
    /// Its name.
    pub id: String,
    /// How it is on each node that runs it.
    pub nodes: Vec<TraceStatus>,
    /// Nodes that do not run it.
    pub failed: Vec<NodeProblem>,
    /// What there is to say about the script although it runs.
    pub diagnostics: Vec<Diagnostic>,
}

/// A trace, on all its nodes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TraceSummary {
    /// Its name.
    pub id: String,
    /// How it is on each node.
    pub nodes: Vec<TraceStatus>,
}

/// All traces.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TracesAnswer {
    /// They, by name.
    pub traces: Vec<TraceSummary>,
    /// Nodes that did not answer: what they know is not here.
    pub failed: Vec<NodeProblem>,
}

/// A line, and where it was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NodeLine {
    /// The node.
    pub node: String,
    /// Its number on this node, from 1.
    pub number: u64,
    /// The line, without its end.
    pub text: String,
    /// Whether it is for the error stream.
    pub error: bool,
}

/// What a trace found, over all nodes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TraceAnswer {
    /// Its name.
    pub id: String,
    /// How it is on each node.
    pub nodes: Vec<TraceStatus>,
    /// Its maps, those of all nodes as one.
    pub maps: Vec<Merged>,
    /// The latest lines of each node, node by node.
    pub lines: Vec<NodeLine>,
    /// Nodes that did not answer: what they found is not here.
    pub failed: Vec<NodeProblem>,
}

/// `POST /v1/traces`.
pub async fn start(call: Call, asked: TraceRequest) -> Result<Json<TraceStarted>, Problem> {
    let app = &call.app;
    let source = source(asked.script, asked.arguments, asked.probe, asked.parameters)?;
    if matches!(source, TraceSource::Script(_)) {
        call.who.may(Right::Script)?;
    }
    app.nats()?;
    let nodes = tracers::chosen(app, asked.nodes)?;
    if asked.duration_ms == Some(0) {
        return Err(Problem::body("duration_ms", "a trace of no duration finds nothing"));
    }
    let id = format!("t-{:x}", unix_now_ns());
    let lease_ms = asked.duration_ms.is_none().then_some(LEASE_MS);
    let terms = Terms { trace: id.clone(), duration_ms: asked.duration_ms, lease_ms, limits: asked.limits };
    let answers = match source {
        TraceSource::Script(script) => tracers::ask_each(app, nodes, &StartScript { script, terms }).await?,
        TraceSource::Probe(probe) => tracers::ask_each(app, nodes, &StartProbe { probe, terms }).await?,
    };
    started(id, answers).map(Json)
}

/// What came of starting on each node; a problem where it runs on none.
fn started(id: String, answers: Answers<Started>) -> Result<TraceStarted, Problem> {
    let mut all = TraceStarted { id, nodes: Vec::new(), failed: Vec::new(), diagnostics: Vec::new() };
    let mut first = None;
    for (node, answer) in answers {
        match answer {
            Ok(Started { trace: Some(status), diagnostics }) => {
                all.nodes.push(status);
                for said in diagnostics {
                    if !all.diagnostics.contains(&said) {
                        all.diagnostics.push(said);
                    }
                }
            }
            Ok(Started { trace: None, diagnostics }) => {
                let reason = "the script does not run".to_owned();
                first.get_or_insert_with(|| Problem::not_possible(&*reason).diagnosing(&diagnostics));
                all.failed.push(NodeProblem { node, reason, diagnostics });
            }
            Err(error) => {
                all.failed.push(NodeProblem { node, reason: reasons(&error), diagnostics: Vec::new() });
                first.get_or_insert_with(|| error.into());
            }
        }
    }
    match first {
        Some(problem) if all.nodes.is_empty() => Err(problem),
        _ => Ok(all),
    }
}

/// `POST /v1/traces/check`.
pub async fn check(call: Call, asked: CheckRequest) -> Result<Json<Checked>, Problem> {
    let source = source(asked.script, asked.arguments, asked.probe, asked.parameters)?;
    Ok(Json(tracers::ask_one(&call.app, asked.node, &CheckTrace { source }).await?))
}

fn source(
    script: Option<String>,
    arguments: Vec<String>,
    probe: Option<String>,
    parameters: BTreeMap<String, String>,
) -> Result<TraceSource, Problem> {
    match (script, probe) {
        (Some(_), Some(_)) => Err(Problem::body("probe", "either a script or a probe, not both")),
        (None, None) => Err(Problem::body("script", "a script or a probe is needed")),
        (Some(_), None) if !parameters.is_empty() => {
            Err(Problem::body("parameters", "those are a probe's; a script has `arguments`"))
        }
        (None, Some(_)) if !arguments.is_empty() => {
            Err(Problem::body("arguments", "those are a script's; a probe has `parameters`"))
        }
        (Some(text), None) => Ok(TraceSource::Script(Script { text, parameters: arguments })),
        (None, Some(name)) => Ok(TraceSource::Probe(Probe { name, parameters })),
    }
}

/// `GET /v1/traces`.
pub async fn list(call: Call, _: Nothing) -> Result<Json<TracesAnswer>, Problem> {
    let app = &call.app;
    app.nats()?;
    let answers = tracers::ask_each(app, tracers::nodes(app)?, &ListTraces {}).await?;
    let mut traces = BTreeMap::<String, Vec<TraceStatus>>::new();
    let mut failed = Vec::new();
    for (node, answer) in answers {
        match answer {
            Ok(found) => found.into_iter().for_each(|status| {
                traces.entry(status.trace.clone()).or_default().push(status);
            }),
            Err(error) => failed.push(silent(node, &error)),
        }
    }
    let traces = traces.into_iter().map(|(id, nodes)| TraceSummary { id, nodes }).collect();
    Ok(Json(TracesAnswer { traces, failed }))
}

/// `GET /v1/traces/{id}`.
pub async fn get(call: Call, _: Nothing) -> Result<Json<TraceAnswer>, Problem> {
    let trace = id(&call)?.to_string();
    let answers = everywhere(&call, &GetResults { trace: trace.clone() }).await?;
    merged(trace, answers).map(Json)
}

/// `DELETE /v1/traces/{id}`.
pub async fn stop(call: Call, _: Nothing) -> Result<Json<TraceAnswer>, Problem> {
    let trace = id(&call)?.to_string();
    let answers = everywhere(&call, &StopTrace { trace: trace.clone() }).await?;
    merged(trace, answers).map(Json)
}

/// The trace that the path names.
pub fn id(call: &Call) -> Result<TraceId, Problem> {
    TraceId::new(call.subject.clone()).map_err(|error| Problem::parameter("id", error.to_string()))
}

/// What all nodes answer.
pub async fn everywhere<C>(call: &Call, question: &C) -> Result<Answers<TraceResults>, Problem>
where
    C: synscope_bus::command::Command<Answer = TraceResults> + Sync,
{
    call.app.nats()?;
    tracers::ask_each(&call.app, tracers::nodes(&call.app)?, question).await
}

/// The results of those nodes that have the trace; 404 where none has.
fn merged(id: String, answers: Answers<TraceResults>) -> Result<TraceAnswer, Problem> {
    let mut all = TraceAnswer { id, nodes: Vec::new(), maps: Vec::new(), lines: Vec::new(), failed: Vec::new() };
    let mut maps = Vec::new();
    for (node, answer) in answers {
        match answer {
            Ok(results) => {
                all.lines.extend(lines(&node, results.first, results.lines));
                maps.extend(results.maps.into_iter().map(|map| map.of_node(&node)));
                all.nodes.push(results.status);
            }
            // It does not know the trace.
            Err(CommandError::Refused(_)) => {}
            Err(error) => all.failed.push(silent(node, &error)),
        }
    }
    if all.nodes.is_empty() {
        let silent: BTreeSet<&str> = all.failed.iter().map(|failed| failed.node.as_str()).collect();
        let but = if silent.is_empty() { String::new() } else { format!("; no answer from {silent:?}") };
        return Err(Problem::not_found(format!("no tracer has a trace {:?}{but}", all.id)));
    }
    all.maps = merge(maps);
    Ok(all)
}

/// Lines with their node and number.
pub fn lines(node: &str, first: u64, lines: Vec<synscope_bus::message::trace::Line>) -> impl Iterator<Item = NodeLine> {
    let numbered = |(number, line): (u64, synscope_bus::message::trace::Line)| NodeLine {
        node: node.to_owned(),
        number,
        text: line.text,
        error: line.error,
    };
    (first..).zip(lines).map(numbered)
}

fn silent(node: String, error: &CommandError) -> NodeProblem {
    NodeProblem { node, reason: reasons(error), diagnostics: Vec::new() }
}
