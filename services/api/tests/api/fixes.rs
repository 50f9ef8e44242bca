//! Fixes change desired state, or say why not.

use serde_json::{Value, json};
use synscope_api::settings::Settings;
use synscope_bus::document::{Desired, Documents};
use synscope_bus::message::incident::{Advice, Change, Fix, Incident};

use crate::service::{Nats, Service};

fn incident(id: &str, fix: Option<Fix>) -> Incident {
    Incident { id: id.into(), fix, ..Incident::default() }
}

fn larger(to: u64) -> Fix {
    Fix { change: Some(Change::ConntrackEntries { node: "node-a".into(), from: 10, to }), ..Fix::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_changes_desired_state_once() {
    let nats = Nats::new();
    let _server = nats.start();
    let service = Service::start(&nats, Settings::default()).await;
    let connection = nats.connect().await;
    connection.connected().await;
    let incidents = Documents::<Incident>::open(&connection).await.unwrap();
    let desired = Documents::<Desired>::open(&connection).await.unwrap();
    let advice = Advice { owner: "cilium".into(), command: "bpf.ctGlobalTCPMax".into() };
    let advised = Fix { advice: vec![advice.clone()], summary: "a larger map".into(), ..Fix::default() };
    for made in [
        incident("full", Some(larger(262_144))),
        incident("advice", Some(advised)),
        incident("huge", Some(larger(1 << 32))),
        incident("too-large", Some(larger((1 << 24) + 1))),
        incident("newer", Some(Fix { change: Some(Change::Unknown), advice: vec![advice], ..Fix::default() })),
        incident("none", None),
    ] {
        incidents.put(&made.id, &made).await.unwrap();
    }
    service.json_when("/v1/incidents", |all| all.as_array().unwrap().len() == 6).await;

    for (id, advised) in [("advice", true), ("huge", false), ("too-large", false), ("newer", true), ("none", false)] {
        let answer = service.post(&format!("/v1/incidents/{id}/fix"), "{}");
        assert_eq!(answer.status, 422, "{id}");
        assert_eq!(answer.json().pointer("/advice/0/owner") == Some(&json!("cilium")), advised, "{id}");
    }
    assert_eq!(desired.get("node-a").await.unwrap(), None);

    let told = service.post("/v1/incidents/full/fix", r#"{"dry_run": true}"#).json();
    assert_eq!(
        (told["changed"].clone(), told["dry_run"].clone(), told["revision"].clone()),
        (json!(true), json!(true), json!(0))
    );
    assert_eq!((told["before"].clone(), told["after"]["conntrack_entries"].clone()), (Value::Null, json!(262_144)));
    assert_eq!(desired.get("node-a").await.unwrap(), None, "a dry run changes nothing");

    // Somebody else is faster than the one who read the dry run's answer.
    let theirs = desired.put("node-a", &Desired { conntrack_entries: Some(1) }).await.unwrap();
    let refused = service.post("/v1/incidents/full/fix", r#"{"revision": 0}"#);
    assert_eq!((refused.status, refused.json()["status"].clone()), (409, json!(409)));
    assert_eq!(desired.get("node-a").await.unwrap(), Some((Desired { conntrack_entries: Some(1) }, theirs)));

    let done = service.post("/v1/incidents/full/fix", &json!({ "revision": theirs }).to_string()).json();
    let now = desired.get("node-a").await.unwrap().unwrap();
    assert_eq!(now.0, Desired { conntrack_entries: Some(262_144) });
    assert_eq!((done["revision"].clone(), done["before"]["conntrack_entries"].clone()), (json!(now.1), json!(1)));
    let again = service.post("/v1/incidents/full/fix", "{}").json();
    assert_eq!((again["changed"].clone(), again["revision"].clone()), (json!(false), json!(now.1)));
}

/// Many at once: each that succeeds is the successor of the one before; the others are told of the conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn fixes_at_once_do_not_overwrite_each_other() {
    const EACH: u64 = 8;
    let nats = Nats::new();
    let _server = nats.start();
    let service = std::sync::Arc::new(Service::start(&nats, Settings::default()).await);
    let connection = nats.connect().await;
    connection.connected().await;
    let incidents = Documents::<Incident>::open(&connection).await.unwrap();
    for number in 0..EACH {
        let id = number.to_string();
        incidents.put(&id, &incident(&id, Some(larger(1000 + number)))).await.unwrap();
    }
    service.json_when("/v1/incidents", |all| all.as_array().unwrap().len() == 8).await;
    let asked: Vec<_> = (0..EACH)
        .map(|number| {
            let service = service.clone();
            tokio::task::spawn_blocking(move || {
                service.post(&format!("/v1/incidents/{number}/fix"), r#"{"revision": 0}"#).status
            })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [&[200][..], &[409; 7]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn desired_state_is_replaced_by_whoever_read_it() {
    let nats = Nats::new();
    let _server = nats.start();
    let service = Service::start(&nats, Settings::default()).await;
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    let path = "/v1/nodes/node-a/desired";
    let put = |tag: &str, body: &str| {
        service.ask("PUT", path, &[("content-type", "application/json"), ("if-match", tag)], body)
    };
    let read = service.get(path);
    assert_eq!((read.json()["desired"].clone(), read.etag.as_deref()), (Value::Null, Some("\"0\"")));
    let written = put("\"0\"", r#"{"conntrack_entries": 5}"#);
    assert_eq!(written.status, 200, "{written:?}");
    let tag = written.etag.unwrap();
    assert_eq!(put("\"0\"", "{}").status, 412);
    let read = service.get(path);
    assert_eq!(
        (read.json()["desired"].clone(), read.etag.as_deref()),
        (json!({ "conntrack_entries": 5 }), Some(&*tag))
    );
    assert_eq!(put(&tag, "{}").status, 200);
}
