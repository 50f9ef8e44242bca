//! What a node is asked to be like, and what it says when it cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod agent;
#[path = "../../../shared/bus/tests/nats/mod.rs"]
mod nats;
mod netns;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Child;

use agent::{Agent, NODE, ready, status, until};
use synscope_bus::command::datapath::ListConntrack;
use synscope_bus::command::{ask, ask_health};
use synscope_bus::connection::Connection;
use synscope_bus::document::{Desired, Documents};

async fn resized(connection: &Connection, entries: u64) {
    let tables = async || {
        let status = status(connection).await;
        (status.tables.iter().map(|table| table.max).collect::<Vec<_>>(), status.desired_error)
    };
    until("the tables are resized", tables, |(capacities, error)| *capacities == [entries; 2] && error.is_none()).await;
}

async fn refused(connection: &Connection, why: &str) {
    let error = async || status(connection).await.desired_error.unwrap_or_default();
    until(why, error, |error| error.contains(why)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn desired_state_resizes_and_is_come_back_to_after_death_without_losing_a_connection() {
    let mut agent = Agent::new("dsr", "conntrack_entries = 1000");
    let (_nats, connection) = agent.nats().await;
    let listener = agent.server();
    agent.start();
    ready(&connection).await;
    assert_eq!(status(&connection).await.tables[0].max, 1000);
    let mut client = agent.client();
    let mut accepted = listener.accept().unwrap().0;

    let documents = Documents::<Desired>::open(&connection).await.unwrap();
    documents.compare_and_set(NODE, &Desired { conntrack_entries: Some(3000) }, 0).await.unwrap();
    resized(&connection, 3000).await;

    agent.kill();
    client.write_all(b"while the service is dead").unwrap();
    let mut read = [0; 25];
    accepted.read_exact(&mut read).unwrap();
    agent.start();
    ready(&connection).await;
    let after = status(&connection).await;
    assert_eq!(after.tables[0].max, 3000);
    assert_eq!(after.counters["unmeasured_mid_stream"], 0, "no connection was made anew");
    let query = ListConntrack { port: Some(80), limit: 10, ..ListConntrack::default() };
    let entries = ask(&connection, NODE, &query).await.unwrap().entries;
    assert!(entries.len() == 1 && entries[0].server_latency_ns.is_some(), "{entries:?}");

    let too_small = Desired { conntrack_entries: Some(0) };
    documents.put(NODE, &too_small).await.unwrap();
    refused(&connection, "cannot be resized to 0").await;
    let health = ask_health(&connection, "datapath", NODE).await.unwrap();
    assert!(health.degradations["desired"].contains("cannot be resized to 0"), "{health:?}");

    let bucket =
        async_nats::jetstream::new(connection.client().clone()).get_key_value("synscope-desired").await.unwrap();
    for (text, expected) in [
        (r#"{"conntrack_entires": 4000}"#, r#"key "conntrack_entires" is unknown; did you mean "conntrack_entries"?"#),
        (r#"{"conntrack_entries": 4"#, "is no valid document"),
    ] {
        bucket.put(NODE, text.into()).await.unwrap();
        refused(&connection, expected).await;
    }
    assert_eq!(status(&connection).await.tables[0].max, 3000, "what is not understood changes nothing");
    documents.put(NODE, &Desired { conntrack_entries: Some(3000) }).await.unwrap();
    let degradations = async || ask_health(&connection, "datapath", NODE).await.unwrap().degradations;
    until("it recovers", degradations, |degradations| !degradations.contains_key("desired")).await;

    agent.terminate();
    assert!(agent.command().arg("uninstall").status().unwrap().success());
    assert!(!agent.pins.exists());
    client.write_all(b"x").unwrap();
    assert_eq!(accepted.read(&mut read).unwrap(), 1, "packets pass without us, too");
    drop(accepted);
}

/// Connections that are in the way of a smaller table end, and nobody asks again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_done_once_sweeps_have_made_it_possible() {
    let mut agent = Agent::new("later", "conntrack_entries = 1000\ntimeouts = { closing = 1, closed = 1, other = 1 }");
    let (_nats, connection) = agent.nats().await;
    let listener = agent.server();
    agent.start();
    ready(&connection).await;
    let open = [(); 3].map(|()| (agent.client(), listener.accept().unwrap()));
    let documents = Documents::<Desired>::open(&connection).await.unwrap();
    documents.put(NODE, &Desired { conntrack_entries: Some(2) }).await.unwrap();
    refused(&connection, "FLOWS_V4 holds 3 entries, so it cannot be resized to 2").await;

    drop(open);
    resized(&connection, 2).await;
    agent.terminate();
}

/// A memory cgroup, of whichever version the machine has; removed when dropped.
struct Memory {
    folder: PathBuf,
    limit: &'static str,
}

impl Memory {
    fn new(name: &str) -> Self {
        let root = PathBuf::from("/sys/fs/cgroup");
        let (root, limit) = if root.join("memory").is_dir() {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            std::fs::write(root.join("cgroup.subtree_control"), "+memory").unwrap();
            (root, "memory.max")
        };
        let folder = root.join(format!("syn-t-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self { folder, limit }
    }

    fn hold(&self, child: &Child, bytes: u64) {
        std::fs::write(self.folder.join("cgroup.procs"), child.id().to_string()).unwrap();
        std::fs::write(self.folder.join(self.limit), bytes.to_string()).unwrap();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_too_large_for_the_memory_is_refused_and_the_old_one_goes_on() {
    let memory = Memory::new("mem");
    let mut agent = Agent::new("mem", "conntrack_entries = 1000");
    let (_nats, connection) = agent.nats().await;
    let listener = agent.server();
    agent.start();
    ready(&connection).await;
    memory.hold(agent.child.as_ref().unwrap(), 128 << 20);

    // It takes more than 3 GiB.
    let documents = Documents::<Desired>::open(&connection).await.unwrap();
    documents.put(NODE, &Desired { conntrack_entries: Some(1 << 24) }).await.unwrap();
    refused(&connection, "FLOWS_V4 with 16777216 entries does not fit: it takes 3").await;

    let _client = agent.client();
    listener.accept().unwrap();
    let after = status(&connection).await;
    assert_eq!((after.tables[0].max, after.tables[0].live), (1000, 1));
    agent.terminate();
    assert!(agent.command().arg("uninstall").status().unwrap().success());
}
