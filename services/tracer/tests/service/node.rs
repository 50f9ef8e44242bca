//! Tracers as processes, and what they are asked.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use synscope_bus::command::tracer::{
    GetResults, Limits, ListTraces, RenewTrace, Script, StartScript, Started, StopTrace, Terms, TraceResults,
};
use synscope_bus::command::{self, Command as Question, CommandError};
use synscope_bus::connection::Connection;
use synscope_bus::inbox::Inbox;
use synscope_bus::message::trace::{Ending, TraceBatch, TraceState};
use synscope_bus::subject::{TraceId, Wildcard};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::nats::{Server, free_port};

pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A nats-server that comes and goes, and who asks over it.
pub(crate) struct Fleet {
    port: u16,
    store: TempDir,
    server: Option<Server>,
    pub(crate) connection: Connection,
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let (port, store) = (free_port(), tempfile::tempdir().unwrap());
        let server = Some(Server::start(port, store.path()));
        let connection = Connection::start(&format!("nats://127.0.0.1:{port}"), "test").await.unwrap();
        timeout(DEADLINE, connection.connected()).await.unwrap();
        Self { port, store, server, connection }
    }

    pub(crate) async fn kill_nats(&mut self) {
        drop(self.server.take());
        until("NATS is away", async || !self.connection.is_connected()).await;
    }

    pub(crate) async fn start_nats(&mut self) {
        self.server = Some(Server::start(self.port, self.store.path()));
        timeout(DEADLINE, self.connection.connected()).await.unwrap();
    }

    /// A tracer as one node, that answers.
    pub(crate) async fn tracer(&self, node: &'static str, settings: &[(&str, &str)]) -> Tracer {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_synscope-tracer")]);
        command.env("SYNSCOPE_NODE", node).env("SYNSCOPE_NATS__URL", format!("nats://127.0.0.1:{}", self.port));
        command.envs(settings.iter().copied()).stdin(Stdio::null());
        let tracer = Tracer { child: command.spawn().unwrap(), node, connection: self.connection.clone() };
        until("the tracer answers", async || tracer.ask(&ListTraces {}).await.is_ok()).await;
        tracer
    }

    /// A tracer that runs own scripts.
    pub(crate) async fn open_tracer(&self, node: &'static str) -> Tracer {
        self.tracer(node, &[("SYNSCOPE_SCRIPTS", "true")]).await
    }

    /// What a trace tells from now on.
    pub(crate) async fn listen(&self, trace: &str) -> Listener {
        let subject = Wildcard::Trace(TraceId::new(trace).unwrap()).to_string();
        let messages = self.connection.client().subscribe(subject).await.unwrap();
        // Behind the subscription in the same connection: once it is answered, the server knows of both.
        self.connection.client().flush().await.unwrap();
        Listener { messages, inbox: Inbox::default() }
    }
}

pub(crate) struct Listener {
    messages: async_nats::Subscriber,
    inbox: Inbox,
}

impl Listener {
    /// The next batch.
    pub(crate) async fn next(&mut self) -> TraceBatch {
        let next = async {
            loop {
                let message = self.messages.next().await.unwrap();
                if let Some(received) = self.inbox.read::<TraceBatch>(&message) {
                    return received.message;
                }
                assert_eq!(self.inbox.counts().foreign, 0);
            }
        };
        timeout(DEADLINE, next).await.expect("no batch came")
    }

    /// All up to the one that tells the end.
    pub(crate) async fn rest(&mut self) -> (Vec<TraceBatch>, Ending) {
        let mut batches = Vec::new();
        loop {
            let batch = self.next().await;
            let state = batch.state.clone();
            batches.push(batch);
            if let TraceState::Ended { ending } = state {
                return (batches, ending);
            }
        }
    }
}

/// A tracer; killed when it goes.
pub(crate) struct Tracer {
    pub(crate) child: Child,
    pub(crate) node: &'static str,
    connection: Connection,
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // One that was waited for already is not there any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Tracer {
    pub(crate) async fn ask<C: Question>(&self, question: &C) -> Result<C::Answer, CommandError> {
        command::ask(&self.connection, self.node, question).await
    }

    pub(crate) async fn start(&self, text: &str, terms: Terms) -> Result<Started, CommandError> {
        let script = Script { text: text.to_owned(), parameters: Vec::new() };
        self.ask(&StartScript { script, terms }).await
    }

    /// Starts a script, which runs then.
    pub(crate) async fn run(&self, text: &str, terms: Terms) {
        let trace = terms.trace.clone();
        let started = self.start(text, terms).await.unwrap();
        assert!(started.trace.is_some(), "{started:#?}");
        let running = async || !matches!(self.results(&trace).await.status.state, TraceState::Starting);
        until("the trace runs", running).await;
    }

    /// Why a script is not started.
    pub(crate) async fn refusal(&self, text: &str, terms: Terms) -> String {
        match self.start(text, terms).await {
            Err(CommandError::Refused(why)) => why,
            other => panic!("{other:#?}"),
        }
    }

    pub(crate) async fn results(&self, trace: &str) -> TraceResults {
        self.ask(&GetResults { trace: trace.to_owned() }).await.unwrap()
    }

    pub(crate) async fn renew(&self, trace: &str) -> TraceState {
        self.ask(&RenewTrace { trace: trace.to_owned() }).await.unwrap().state
    }

    pub(crate) async fn stop(&self, trace: &str) -> TraceResults {
        self.ask(&StopTrace { trace: trace.to_owned() }).await.unwrap()
    }

    /// How a trace ends.
    pub(crate) async fn ending(&self, trace: &str) -> Ending {
        let start = Instant::now();
        loop {
            let status = self.results(trace).await.status;
            if let TraceState::Ended { ending } = status.state {
                return ending;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end: {status:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn terms(trace: &str) -> Terms {
    Terms { trace: trace.to_owned(), duration_ms: Some(120_000), ..Terms::default() }
}

pub(crate) fn limited(trace: &str, limits: Limits) -> Terms {
    Terms { limits, ..terms(trace) }
}

/// Waits for something to be so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < DEADLINE, "not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends a thread of a name that scripts look for.
pub(crate) fn part(name: &str) {
    std::thread::Builder::new().name(name.to_owned()).spawn(|| {}).unwrap().join().unwrap();
}
