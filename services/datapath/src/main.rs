//! The datapath service: one per node.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use synscope_bus::command::datapath::{GetStatus, ListConntrack, TopConntrack};
use synscope_bus::command::{ANSWER, Answers};
use synscope_bus::connection::Connection;
use synscope_bus::document::{self, Desired, Documents, Endpoints, Seen};
use synscope_bus::envelope::PublisherId;
use synscope_bus::life::{Life, unix_now_ns};
use synscope_bus::message::signal::{NodeSignals, Observed};
use synscope_bus::outbox::Outbox;
use synscope_bus::subject::Subject;
use synscope_bus::{configuration, telemetry};
use synscope_datapath::agent::{self, Order, OwnTables, Surroundings};
use synscope_datapath::attach;
use synscope_datapath::edges::Edges;
use synscope_datapath::names::{Directory, Names};
use synscope_datapath::pins;
use synscope_datapath::publish::{Publisher, put};
use synscope_datapath::settings::Settings;
use synscope_datapath::signals::Sampler;
use tokio::sync::watch;

/// What the signals' outbox may hold while NATS is away.
const SIGNAL_BYTES: usize = 16 << 20;
/// Between two attempts to tell the others who lives here.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Tracks connections in the kernel, and tells what happens to them.
#[derive(Parser)]
#[command(version, about)]
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
        Action::Uninstall => uninstall(&settings),
    }
}

/// Takes off what outlives the process: pinned links and tables, and filters where there is no tcx.
fn uninstall(settings: &Settings) -> Result<()> {
    pins::remove(&settings.pins)?;
    let netns = settings.netns.clone();
    let removing = start("uninstall", move || {
        if let Some(netns) = &netns {
            agent::enter(netns)?;
        }
        let removed = attach::remove_filters()?;
        tracing::info!(filters = removed, "uninstalled");
        Ok(())
    });
    removing?.join().map_err(|_panic| anyhow!("the thread panicked"))?
}

async fn run(settings: Settings) -> Result<()> {
    let node = settings.node_id()?;
    let own = read_endpoints(settings.endpoints.as_deref())?;
    let connection = Connection::start(&settings.nats.url, &format!("synscope-datapath-{node}")).await?;
    let life = Life::begin("datapath", node.as_str(), connection.clone())?;

    let (orders, taken) = channel();
    let (table, tables) = sync_channel(1);
    let names = follow_names(&life, own);
    follow_desired(&life, &orders);

    let publisher = PublisherId::begin(node.clone());
    let signals = Outbox::new(&Subject::Signal(node), publisher.clone(), SIGNAL_BYTES);
    life.send(&signals);
    let slow = Duration::from_millis(settings.slow_ms);
    let edges = Edges::new(publisher.node.as_str(), settings.bucket(), slow);
    let publisher = Publisher::new(&life, &publisher, edges, settings.bucket());
    let around = Surroundings { life: life.clone(), publisher, names, table, orders: taken };

    let signalling = start("signals", {
        let settings = settings.clone();
        move || publish_signals(&settings, &signals, &tables)
    })?;
    let working = start("agent", {
        let (settings, life) = (settings.clone(), life.clone());
        move || {
            let ended = agent::run(settings, around);
            // Without its agent the service is of no use.
            life.stop();
            ended
        }
    })?;

    let answers = Answers::announce(&life).await?;
    let about = orders.clone();
    answers.answer(move |GetStatus {}| ask(&about, Order::Status)).await?;
    let about = orders.clone();
    answers.answer(move |query: ListConntrack| ask(&about, |back| Order::List(query, back))?).await?;
    let about = orders.clone();
    answers.answer(move |query: TopConntrack| ask(&about, |back| Order::Top(query, back))?).await?;

    life.stopped().await;
    // An agent that failed has no ear for orders any more.
    let _ended_by_itself = orders.send(Order::Stop);
    let ended = tokio::task::spawn_blocking(move || (working.join(), signalling.join())).await?;
    life.drain().await;
    let (agent, signals) = ended;
    agent.map_err(|_panic| anyhow!("the agent's thread panicked"))??;
    signals.map_err(|_panic| anyhow!("the signals' thread panicked"))?
}

fn start(name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<thread::JoinHandle<Result<()>>> {
    thread::Builder::new().name(name.to_owned()).spawn(work).context("cannot start a thread")
}

/// Asks the agent, from a thread that may wait.
fn ask<T>(orders: &Sender<Order>, order: impl FnOnce(std::sync::mpsc::SyncSender<T>) -> Order) -> Result<T, String> {
    let (back, answer) = sync_channel(1);
    orders.send(order(back)).map_err(|_ended| "the agent has ended".to_owned())?;
    answer.recv_timeout(ANSWER).map_err(|_elapsed| "the agent did not answer in time".to_owned())
}

fn read_endpoints(file: Option<&std::path::Path>) -> Result<Endpoints> {
    let Some(file) = file else { return Ok(Endpoints::default()) };
    configuration::load_document(file).with_context(|| format!("endpoints {}", file.display()))
}

/// Tells the others who lives here, and learns who lives there.
fn follow_names(life: &Life, own: Endpoints) -> watch::Receiver<Arc<Names>> {
    let node = life.name().1.to_owned();
    let directory = Directory::new(&node, own.clone());
    let (tell, names) = watch::channel(Arc::new(directory.names()));
    let connection = life.connection().clone();
    let telling = connection.clone();
    tokio::spawn(async move {
        loop {
            telling.connected().await;
            let told = async { Documents::<Endpoints>::open(&telling).await?.put(&node, &own).await };
            match told.await {
                Ok(_revision) => return,
                Err(error) => tracing::debug!(%error, "endpoints are not told yet"),
            }
            tokio::time::sleep(TELL_AGAIN).await;
        }
    });
    tokio::spawn(async move {
        let directory = Mutex::new(directory);
        document::follow::<Endpoints>(&connection, ">", |seen| {
            // No code panics while it holds the lock.
            let mut directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
            match seen {
                Seen::Put { key, document, .. } => directory.set(&key, Some(document)),
                Seen::Gone { key } => directory.set(&key, None),
            }
            tell.send_replace(Arc::new(directory.names()));
        })
        .await;
    });
    names
}

fn follow_desired(life: &Life, orders: &Sender<Order>) {
    let (connection, node, orders) = (life.connection().clone(), life.name().1.to_owned(), orders.clone());
    tokio::spawn(async move {
        document::follow::<Desired>(&connection, &node, |seen| {
            let desired = match seen {
                Seen::Put { document, .. } => Some(document),
                Seen::Gone { .. } => None,
            };
            // The agent ends only with the process.
            let _ended = orders.send(Order::Desired(desired));
        })
        .await;
    });
}

/// Reads the node's other signals each time the agent tells its table's counters.
fn publish_signals(settings: &Settings, outbox: &Outbox, tables: &Receiver<OwnTables>) -> Result<()> {
    if let Some(netns) = &settings.netns {
        agent::enter(netns)?;
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
        put(outbox, &signals);
    }
    Ok(())
}
