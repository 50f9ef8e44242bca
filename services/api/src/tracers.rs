//! Asking the nodes' tracers, one of them or all at once.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use synscope_bus::command::{self, Command, CommandError};
use synscope_bus::labels::{LabelError, Labels};
use synscope_bus::reasons::reasons;
use synscope_bus::subject::NodeId;

use crate::app::App;
use crate::problem::Problem;
use crate::services::TRACER;
use crate::store::lock;

/// Tracers asked at once.
const AT_ONCE: usize = 32;
/// Labels named to whoever asked for others.
const TOLD: usize = 20;

/// What the tracers of several nodes answered.
pub type Answers<A> = Vec<(String, Result<A, CommandError>)>;

/// The nodes with a tracer that was heard of; 503 where there is none.
pub fn nodes(app: &App) -> Result<Vec<String>, Problem> {
    let services = lock(&app.store.services);
    let tracers = services.known().keys().filter(|(service, _)| *service == TRACER);
    let nodes: Vec<String> = tracers.map(|(_, node)| node.clone()).collect();
    if nodes.is_empty() { Err(Problem::unavailable("no tracer was heard of")) } else { Ok(nodes) }
}

/// Those that are asked for by name or by label, each once, or all.
pub fn chosen(app: &App, asked: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let Some(asked) = asked else { return nodes(app) };
    if asked.is_empty() {
        return Err(Problem::body("nodes", "no node is named; without `nodes`, all are meant"));
    }
    let mut chosen = BTreeSet::new();
    for wanted in asked {
        if wanted.contains('=') {
            chosen.extend(labelled(app, &wanted)?);
        } else {
            NodeId::new(wanted.clone()).map_err(|error| Problem::body("nodes", error.to_string()))?;
            chosen.insert(wanted);
        }
    }
    Ok(chosen.into_iter().collect())
}

/// The nodes that have all of these labels; that there are none is a mistake.
fn labelled(app: &App, wanted: &str) -> Result<Vec<String>, Problem> {
    let labels: Labels =
        wanted.parse().map_err(|error: LabelError| Problem::body("nodes", format!("{wanted:?}: {error}")))?;
    let services = lock(&app.store.services);
    let tracers = || services.known().iter().filter(|((service, _), _)| *service == TRACER);
    let with = tracers().filter(|(_, instance)| instance.labels.have(&labels));
    let found: Vec<String> = with.map(|((_, node), _)| node.clone()).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let there = tracers().flat_map(|(_, instance)| instance.labels.pairs());
    let there: BTreeSet<String> = there.map(|(name, value)| format!("{name}={value}")).collect();
    let some: Vec<String> = there.into_iter().take(TOLD).collect();
    let told = if some.is_empty() { "none has labels".to_owned() } else { format!("there are {}", some.join(", ")) };
    let tracers = tracers().count();
    Err(Problem::body("nodes", format!("of {tracers} nodes with a tracer none has {labels}; {told}")))
}

/// Asks all of these nodes the same.
pub async fn ask_each<C: Command + Sync>(
    app: &App,
    nodes: Vec<String>,
    question: &C,
) -> Result<Answers<C::Answer>, Problem> {
    let connection = app.nats()?;
    let ask = async |node: String| {
        let answer = command::ask(connection, &node, question).await;
        (node, answer)
    };
    let mut answers: Answers<C::Answer> = stream::iter(nodes).map(ask).buffer_unordered(AT_ONCE).collect().await;
    answers.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(answers)
}

/// Asks one node, or the first that answers.
pub async fn ask_one<C: Command + Sync>(app: &App, node: Option<String>, question: &C) -> Result<C::Answer, Problem> {
    let connection = app.nats()?;
    if let Some(node) = node {
        return Ok(command::ask(connection, &node, question).await?);
    }
    let mut silent = None;
    for node in nodes(app)? {
        match command::ask(connection, &node, question).await {
            Err(error @ (CommandError::Nobody { .. } | CommandError::Silent { .. })) => silent = Some(error),
            answer => return Ok(answer?),
        }
    }
    Err(Problem::unavailable(silent.map_or_else(|| "no tracer was heard of".to_owned(), |error| reasons(&error))))
}
