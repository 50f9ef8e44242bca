//! Questions to a node's tracer.
//!
//! Starting a curated probe and starting a script of one's own are two commands, so that NATS can permit one and not the
//! other: a script can read all of the kernel's memory.

mod activity;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Command;
use crate::message::trace::{Line, TraceLosses, TraceState};
use crate::snapshot::Snapshot;

pub use activity::{Activity, GetActivity};

const SERVICE: &str = "tracer";

/// What is to be traced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceSource {
    /// A script of one's own.
    Script(Script),
    /// A probe that comes with synscope.
    Probe(Probe),
}

/// A script in the trace language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Script {
    /// The script.
    pub text: String,
    /// The values of `$1`, `$2`, ….
    pub parameters: Vec<String>,
}

/// A curated probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Probe {
    /// Its name.
    pub name: String,
    /// Values of its parameters by name; those that are not here have their defaults.
    pub parameters: BTreeMap<String, String>,
}

/// What a trace may cost. What is none, and what is more than the node allows, is as the node allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Hits of all its probes together, per CPU and second.
    pub hits_per_second: Option<u64>,
    /// Time that its programs take of a CPU, of a thousand.
    pub cpu_permille: Option<u64>,
    /// Lines that it writes, per second.
    pub lines_per_second: Option<u64>,
    /// Places that its probes are at.
    pub probes: Option<u64>,
    /// Entries that its maps may hold together.
    pub map_entries: Option<u64>,
    /// Memory of its maps, bytes.
    pub memory_bytes: Option<u64>,
}

/// How a trace is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// The trace's name, one token; the same on all its nodes.
    pub trace: String,
    /// How long it runs at most, ms; none or more than the node allows: as long as the node allows.
    pub duration_ms: Option<u64>,
    /// It ends when it was not renewed for so long, ms; none: it needs no renewal.
    pub lease_ms: Option<u64>,
    /// What it may cost.
    pub limits: Limits,
}

/// Says what is wrong with a script and how it would be attached, without running it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckTrace {
    /// What is to be checked.
    pub source: TraceSource,
}

impl Command for CheckTrace {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "check";
    type Answer = Checked;
}

/// Runs a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartScript {
    /// The script.
    pub script: Script,
    /// How it is to run.
    pub terms: Terms,
}

impl Command for StartScript {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "start-script";
    type Answer = Started;
}

/// Runs a curated probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartProbe {
    /// The probe.
    pub probe: Probe,
    /// How it is to run.
    pub terms: Terms,
}

impl Command for StartProbe {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "start-probe";
    type Answer = Started;
}

/// Renews a trace's lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RenewTrace {
    /// The trace.
    pub trace: String,
}

impl Command for RenewTrace {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "renew";
    type Answer = TraceStatus;
}

/// Ends a trace; one that has ended stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StopTrace {
    /// The trace.
    pub trace: String,
}

impl Command for StopTrace {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "stop";
    type Answer = TraceResults;
}

/// All traces, running ones and the latest that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTraces {}

impl Command for ListTraces {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "list";
    type Answer = Vec<TraceStatus>;
}

/// What a trace has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetResults {
    /// The trace.
    pub trace: String,
}

impl Command for GetResults {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "results";
    type Answer = TraceResults;
}

/// The curated probes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListProbes {}

impl Command for ListProbes {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "probes";
    type Answer = Vec<CuratedProbe>;
}

/// Functions of the node's kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListFunctions {
    /// A pattern of names, such as `tcp_*`.
    pub pattern: String,
    /// Functions at most; at most 1,000.
    pub limit: u16,
}

impl Command for ListFunctions {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "functions";
    type Answer = Functions;
}

/// A type of the node's kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeType {
    /// Its name: `sock` or `struct sock`.
    pub name: String,
}

impl Command for DescribeType {
    const SERVICE: &str = SERVICE;
    const VERB: &str = "type";
    type Answer = TypeText;
}

/// How serious a diagnostic is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// The script runs, but likely not as meant.
    Warning,
    /// The script does not run.
    Error,
    /// One that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A place in a script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Place {
    /// The first byte, from 0.
    pub start: u32,
    /// The byte behind the last.
    pub end: u32,
    /// The line of the first byte, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
    /// The line of the byte behind the last.
    pub end_line: u32,
    /// Its column.
    pub end_column: u32,
}

/// A remark on a place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Label {
    /// The place.
    pub place: Place,
    /// The remark.
    pub text: String,
}

/// What to write instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Suggestion {
    /// What is replaced; empty to insert.
    pub place: Place,
    /// What to write there; empty to remove.
    pub replacement: String,
    /// Why.
    pub text: String,
}

/// A finding in a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Diagnostic {
    /// How serious it is.
    pub severity: Severity,
    /// A stable name for this kind of finding, such as `unknown-function`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Remarks on places.
    pub labels: Vec<Label>,
    /// Remarks on the whole.
    pub notes: Vec<String>,
    /// What to write instead, where that is known.
    pub suggestion: Option<Suggestion>,
}

/// A probe of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AttachPoint {
    /// The attach point in full.
    pub name: String,
    /// What it is attached as, in the kernel's words, such as `fentry`.
    pub attached_as: String,
    /// Why as this.
    pub why: String,
    /// At how many places.
    pub places: u64,
}

/// What came of checking a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Checked {
    /// Whether it would run.
    pub runs: bool,
    /// What there is to say about it, by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Its probes; none of a script that would not run.
    pub probes: Vec<AttachPoint>,
    /// Memory that its maps would take at most, bytes.
    pub memory_bytes: u64,
}

/// What came of starting a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Started {
    /// The trace; none where the script does not run, as the diagnostics say.
    pub trace: Option<TraceStatus>,
    /// What there is to say about the script, by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// How a trace is on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TraceStatus {
    /// The trace.
    pub trace: String,
    /// The node.
    pub node: String,
    /// The curated probe; none of a script.
    pub probe: Option<String>,
    /// Where it stands.
    pub state: TraceState,
    /// When it began, Unix ns UTC.
    pub started_unix_ns: u64,
    /// When it ended, Unix ns UTC; none while it runs.
    pub ended_unix_ns: Option<u64>,
    /// When it will end at the latest, Unix ns UTC.
    pub until_unix_ns: u64,
    /// It ends when it was not renewed for so long, ms; none: it needs no renewal.
    pub lease_ms: Option<u64>,
    /// Its probes.
    pub probes: Vec<AttachPoint>,
    /// What it may cost here.
    pub limits: Limits,
    /// Hits of its probes so far, on all CPUs.
    pub hits: u64,
    /// Time that its programs took so far, on all CPUs, ns: from each one's first instruction to its last.
    pub run_ns: u64,
    /// Lines that it wrote so far.
    pub lines: u64,
    /// What was lost so far.
    pub losses: TraceLosses,
}

/// What a trace found on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TraceResults {
    /// How it is.
    pub status: TraceStatus,
    /// Its maps as they stood when they were last looked at.
    pub maps: Vec<Snapshot>,
    /// Number of the first of the lines, from 1.
    pub first: u64,
    /// The latest lines, oldest first.
    pub lines: Vec<Line>,
}

/// What a curated probe costs where it is busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// It is hit when something goes wrong.
    Low,
    /// It is hit for each connection.
    Medium,
    /// It is hit for each packet.
    High,
    /// One that this reader does not know yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A parameter of a curated probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProbeParameter {
    /// Its name.
    pub name: String,
    /// What it means, with its unit.
    pub about: String,
    /// Its value when none is given.
    pub default: String,
}

/// A probe that comes with synscope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CuratedProbe {
    /// Its name.
    pub name: String,
    /// What it tells, in a sentence.
    pub about: String,
    /// What it costs.
    pub cost: Cost,
    /// Linux releases that it was tried on.
    pub kernels: Vec<String>,
    /// How it differs from the script that people use for it, and why.
    pub differs: String,
    /// Its parameters, in the order of the script's `$1`, `$2`, ….
    pub parameters: Vec<ProbeParameter>,
    /// The script.
    pub script: String,
}

/// A function of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The module that it is in; none for the kernel itself.
    pub module: Option<String>,
    /// It in C, as `int tcp_v4_connect(struct sock *sk, …)`; none where the kernel's types do not tell.
    pub declaration: Option<String>,
}

/// Functions of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Functions {
    /// They, by name.
    pub functions: Vec<Function>,
    /// How many more there are.
    pub left_out: u64,
}

/// A type of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TypeText {
    /// Its full name, such as `struct sock`.
    pub name: String,
    /// Its size, bytes; none of what has none, such as a function.
    pub size_bytes: Option<u32>,
    /// It in C; cut after 64 KiB.
    pub text: String,
    /// Whether it was cut.
    pub cut: bool,
}
