//! The datapath service: one per node.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use synscope_bus::command::Answers;
use synscope_bus::command::datapath::{GetStatus, ListConntrack, TopConntrack};
use synscope_bus::command_line::VERSION;
use synscope_bus::connection::Connection;
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::Life;
use synscope_bus::outbox::Outbox;
use synscope_bus::permissions::Identity;
use synscope_bus::subject::Subject;
use synscope_bus::{configuration, health, telemetry};
use synscope_datapath::agent::{self, Surroundings};
use synscope_datapath::edges::Edges;
use synscope_datapath::names::{Directory, Names};
use synscope_datapath::own::{Own, Workloads};
use synscope_datapath::publish::Publisher;
use synscope_datapath::questions::{self, Question};
use synscope_datapath::settings::Settings;
use synscope_datapath::signals::report;
use synscope_datapath::{follow, kubernetes, uninstall};

/// What the signals' outbox may hold while NATS is away.
const SIGNAL_BYTES: usize = 16 << 20;

/// Tracks connections in the kernel, and tells what happens to them.
#[derive(Parser)]
#[command(version = VERSION, about)]
struct Cli {
    /// Configuration file (TOML); the environment (`SYNSCOPE_…`) wins over it.
    #[arg(long, env = "SYNSCOPE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Loads, attaches and runs: what happens without a word, too.
    Run,
    /// Asks the running service how it is: prints its health as JSON, and fails unless it is ready.
    Health(health::Question),
    /// Takes all programs off their interfaces and forgets all tables.
    Uninstall,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let settings: Settings = configuration::load(cli.config.as_deref())?;
    settings.check()?;
    telemetry::start(&settings.log)?;
    match cli.action.unwrap_or(Action::Run) {
        Action::Run => run(settings).await,
        Action::Health(question) => Ok(question.put("datapath", settings.node_id()?).await?),
        Action::Uninstall => uninstall::run(settings).await,
    }
}

async fn run(settings: Settings) -> Result<()> {
    let node = settings.node_id()?;
    let workloads = read_workloads(settings.endpoints.as_deref())?;
    let connection = Connection::start(&settings.nats, &Identity::Datapath(node.clone()).to_string()).await?;
    let life = Life::begin("datapath", node.as_str(), connection.clone())?;
    health::serve(&life);

    let (questions, asked) = questions::open();
    let (table, tables) = sync_channel(1);
    let names = Directory::new(Names::new(node.as_str(), settings.names_kept()));
    let own = Own::new(node.clone(), names.clone(), workloads);
    follow::names(&life, &own);
    match settings.kubernetes_node()? {
        Some(node) => drop(tokio::spawn(kubernetes::follow(life.clone(), own, node))),
        // The file is all there is to know.
        None => own.complete(|_| false),
    }
    let wishes = follow::desired(&life);

    let publisher = PublisherId::begin(node.clone());
    let signals = Outbox::new(&Subject::Signal(node), publisher.clone(), SIGNAL_BYTES);
    life.send(&signals);
    let slow = Duration::from_millis(settings.slow_ms);
    let edges = Edges::new(publisher.node.as_str(), settings.bucket(), slow);
    let publisher = Publisher::new(&life, &publisher, edges, settings.bucket());
    let around = Surroundings { life: life.clone(), names, table, wishes, asked };

    let signalling = start("signals", {
        let (settings, life) = (settings.clone(), life.clone());
        move || report::run(&settings, &life, &signals, &tables)
    })?;
    let working = start("agent", {
        let (settings, life) = (settings.clone(), life.clone());
        move || {
            let ended = agent::run(settings, publisher, around);
            // Without its agent the service is of no use.
            life.stop();
            ended
        }
    })?;

    let answers = Answers::announce(&life).await?;
    let about = questions.clone();
    answers.answer(move |GetStatus {}| about.ask(Question::Status)).await?;
    let about = questions.clone();
    answers.answer(move |query: ListConntrack| about.ask(|back| Question::List(query, back))?).await?;
    let about = questions.clone();
    answers.answer(move |query: TopConntrack| about.ask(|back| Question::Top(query, back))?).await?;

    life.stopped().await;
    let ended = tokio::task::spawn_blocking(move || (working.join(), signalling.join())).await?;
    life.drain().await;
    let (agent, signals) = ended;
    agent.map_err(|_panic| anyhow!("the agent's thread panicked"))??;
    signals.map_err(|_panic| anyhow!("the signals' thread panicked"))?
}

fn start(name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<thread::JoinHandle<Result<()>>> {
    thread::Builder::new().name(name.to_owned()).spawn(work).context("cannot start a thread")
}

fn read_workloads(file: Option<&Path>) -> Result<Workloads> {
    let Some(file) = file else { return Ok(Workloads::default()) };
    configuration::load_document(file).with_context(|| format!("endpoints {}", file.display()))
}
