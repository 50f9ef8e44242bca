//! Asking the nodes' tracers, one of them or all at once.

use futures::{StreamExt, stream};
use synscope_bus::command::{self, Command, CommandError};
use synscope_bus::reasons::reasons;
use synscope_bus::subject::NodeId;

use crate::app::App;
use crate::problem::Problem;
use crate::services::TRACER;
use crate::store::lock;

/// Tracers asked at once.
const AT_ONCE: usize = 32;

/// What the tracers of several nodes answered.
pub type Answers<A> = Vec<(String, Result<A, CommandError>)>;

/// The nodes with a tracer that was heard of; 503 where there is none.
pub fn nodes(app: &App) -> Result<Vec<String>, Problem> {
    let services = lock(&app.store.services);
    let tracers = services.known().keys().filter(|(service, _)| *service == TRACER);
    let nodes: Vec<String> = tracers.map(|(_, node)| node.clone()).collect();
    if nodes.is_empty() { Err(Problem::unavailable("no tracer was heard of")) } else { Ok(nodes) }
}

/// Those that are asked for, or all.
pub fn chosen(app: &App, asked: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let Some(asked) = asked else { return nodes(app) };
    if asked.is_empty() {
        return Err(Problem::body("nodes", "no node is named; without `nodes`, all are meant"));
    }
    for node in &asked {
        NodeId::new(node.clone()).map_err(|error| Problem::body("nodes", error.to_string()))?;
    }
    Ok(asked)
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
