//! The service itself, beside a real nats-server: what it knows outlives both.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod fleet;
#[path = "../../../../shared/bus/tests/nats/mod.rs"]
mod nats;
mod process;

use std::time::Duration;

use fleet::{Fate, Fleet, S, Second};
use nats::{Server, free_port};
use process::Analyzer;
use synscope_bus::connection::Connection;
use synscope_bus::document::Documents;
use synscope_bus::life::unix_now_ns;
use synscope_bus::message::incident::{Incident, State};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_mins(1);

/// A server's place, which stays when the server goes.
struct Place {
    port: u16,
    store: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { port: free_port(), store: tempfile::tempdir().unwrap() }
    }

    fn start(&self) -> Server {
        Server::start(self.port, self.store.path())
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> Connection {
        Connection::start(&self.url(), "test").await.unwrap()
    }
}

/// The only incident there is, once it is as wanted.
async fn incident_when(connection: &Connection, wanted: impl Fn(&Incident) -> bool) -> Incident {
    let mut seen = Vec::new();
    let found = async {
        loop {
            connection.connected().await;
            if let Ok(documents) = Documents::<Incident>::open(connection).await
                && let Ok(all) = documents.all().await
            {
                assert!(all.len() <= 1, "one incident, not several: {all:#?}");
                if let Some((_, incident)) = all.iter().find(|(_, incident)| wanted(incident)) {
                    return incident.clone();
                }
                seen = all;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, found).await.ok();
    found.unwrap_or_else(|| panic!("no incident is as wanted: {seen:#?}"))
}

fn states(incident: &Incident) -> Vec<State> {
    incident.timeline.iter().map(|step| step.state).collect()
}

/// Second 0 of the fleet's story, so long ago that it is over.
fn begun(seconds_ago: u64) -> u64 {
    let bucket_ns = fleet::BUCKET_NS;
    (unix_now_ns() - seconds_ago * S) / bucket_ns * bucket_ns
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_outlives_the_analyzer_and_the_server_in_every_state() {
    let place = Place::new();
    let mut server = place.start();
    let mut analyzer = Analyzer::start(&place.url());
    let connection = place.connect().await;
    let begin = begun(100);
    let fleet = Fleet::new(&connection, begin);

    fleet.play(0..60, |second| Second::in_spikes(second, Fate::Dropped)).await;
    let open = incident_when(&connection, |incident| incident.kind == "ct-full" && incident.fix.is_some()).await;
    assert_eq!(states(&open), [State::Open]);

    // Killed with -9, both; what is fed meanwhile waits for the server.
    (analyzer, server) = restarted(analyzer, server, &place);
    let grown = Second { table_max: 4 * fleet::TABLE_MAX, live: 2 * fleet::TABLE_MAX, ..Second::default() };
    fleet.play(60..100, |_| grown).await;
    let applied = incident_when(&connection, |incident| incident.state == State::FixApplied).await;
    assert_eq!(applied.id, open.id);

    (analyzer, server) = restarted(analyzer, server, &place);
    let verified = incident_when(&connection, |incident| incident.state == State::Verified).await;
    assert_eq!(
        (&verified.id, verified.fix.as_ref().unwrap().applied_unix_ns),
        (&open.id, applied.fix.unwrap().applied_unix_ns)
    );

    (analyzer, server) = restarted(analyzer, server, &place);
    let from = (unix_now_ns() - begin) / S + 1;
    fleet.play(from..from + 5, |_| Second { hit: Some(Fate::Dropped), ..grown }).await;
    let reopened = incident_when(&connection, |incident| incident.state == State::Reopened).await;
    assert_eq!(states(&reopened), [State::Open, State::FixApplied, State::Verified, State::Reopened]);
    assert_eq!((&reopened.id, &reopened.timeline[..3]), (&open.id, &verified.timeline[..]));
    drop((analyzer, server));
}

fn restarted(analyzer: Analyzer, server: Server, place: &Place) -> (Analyzer, Server) {
    drop(analyzer);
    drop(server);
    let server = place.start();
    (Analyzer::start(&place.url()), server)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_server_and_writes_everything_again_when_the_store_was_emptied() {
    let mut place = Place::new();
    let _analyzer = Analyzer::start(&place.url());
    let connection = place.connect().await;
    let fleet = Fleet::new(&connection, begun(100));
    let server = place.start();
    fleet.play(0..60, |second| Second::in_spikes(second, Fate::Dropped)).await;
    let open = incident_when(&connection, |incident| incident.fix.is_some()).await;

    drop(server);
    place.store = tempfile::tempdir().unwrap();
    let _server = place.start();
    let written = incident_when(&connection, |incident| incident.id == open.id).await;
    assert_eq!((written.timeline, written.causes), (open.timeline, open.causes));
    // And it reads the streams that were made anew.
    fleet
        .play(60..100, |second| if second < 80 { Second::in_spikes(second, Fate::Dropped) } else { Second::default() })
        .await;
    let grown = incident_when(&connection, |incident| incident.spikes.len() == 4).await;
    assert_eq!((grown.id, grown.state), (open.id, State::Open));
}
