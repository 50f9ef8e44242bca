//! Asking the other services how they are.

use std::time::Duration;

use futures::{StreamExt, stream};
use synscope_bus::command::datapath::GetStatus;
use synscope_bus::command::roll::{self, Present, RollError};
use synscope_bus::command::tracer::GetActivity;
use synscope_bus::command::{self, Command, CommandError};
use synscope_bus::connection::Connection;
use synscope_bus::labels::Labels;
use synscope_bus::life::{Health, unix_now_ns};
use synscope_bus::message::signal::Observed;
use synscope_bus::reasons::reasons;

use crate::app::App;
use crate::store::lock;
use crate::store::services::Instance;

/// The service that a node cannot be without.
pub const DATAPATH: &str = "datapath";
/// The service that finds incidents.
pub const ANALYZER: &str = "analyzer";
/// The service that runs traces on a node.
pub const TRACER: &str = "tracer";
/// The services that are asked.
const ASKED: [&str; 3] = [DATAPATH, ANALYZER, TRACER];
/// Between two rounds.
const ROUND: Duration = Duration::from_secs(2);
/// How long all instances have to say that they are there.
const ROLL_CALL: Duration = Duration::from_millis(300);
/// Instances asked at once.
const AT_ONCE: usize = 32;
/// After so long without a word an instance is forgotten, ns.
const FORGET_NS: u64 = 3600 * 1_000_000_000;

/// Calls the roll and asks everyone, again and again.
pub async fn follow(app: App) {
    loop {
        let connection = app.life.connection();
        if connection.is_connected() {
            app.life.recover("nats");
            if let Err(error) = call_roll(&app, connection).await {
                app.life.degrade("services", format!("the roll cannot be called: {}", reasons(&error)));
            } else {
                app.life.recover("services");
            }
            ask_all(&app, connection).await;
        } else {
            app.life.degrade("nats", "not connected: answers are from memory".into());
        }
        lock(&app.store.services).forget(unix_now_ns().saturating_sub(FORGET_NS));
        tokio::time::sleep(ROUND).await;
    }
}

async fn call_roll(app: &App, connection: &Connection) -> Result<(), RollError> {
    roll::call(connection, ROLL_CALL, |Present { service, node, labels }| {
        if let Some(service) = ASKED.into_iter().find(|asked| *asked == service) {
            lock(&app.store.services).heard(service, &node, labels, unix_now_ns());
        }
    })
    .await
}

async fn ask_all(app: &App, connection: &Connection) {
    let known: Vec<_> = lock(&app.store.services).known().keys().cloned().collect();
    stream::iter(known)
        .for_each_concurrent(AT_ONCE, async |(service, node)| {
            let asked_unix_ns = unix_now_ns();
            let health = async { observed::<Health>(command::ask_health(connection, service, &node).await) };
            let status = ask_if(service == DATAPATH, connection, &node, &GetStatus {});
            let activity = ask_if(service == TRACER, connection, &node, &GetActivity {});
            let (health, status, activity) = tokio::join!(health, status, activity);
            // Its labels are those that it announced.
            let (labels, heard_unix_ns) = (Labels::none(), asked_unix_ns);
            let instance = Instance { health, status, activity, labels, asked_unix_ns, heard_unix_ns };
            lock(&app.store.services).answered(service, &node, instance);
        })
        .await;
}

/// What only one of the services answers.
async fn ask_if<C: Command>(
    is_its: bool,
    connection: &Connection,
    node: &str,
    command: &C,
) -> Option<Observed<C::Answer>> {
    if is_its { Some(observed(command::ask(connection, node, command).await)) } else { None }
}

fn observed<T>(answer: Result<T, CommandError>) -> Observed<T> {
    match answer {
        Ok(value) => Observed::Observed { value },
        Err(error) => Observed::NotObserved { reason: reasons(&error) },
    }
}
