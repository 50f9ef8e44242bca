//! A Kubernetes API server for tests: pods and services, their lists and watches, and what a real one has of surprises.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::stream;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Changes that a watch can go on from; a real one forgets, too.
const LOG_MAX: usize = 500;

/// What it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Lists, continued ones not counted.
    pub(crate) lists: usize,
    /// Versions that watches began from.
    pub(crate) watches: Vec<u64>,
    /// Field selectors, as they were last.
    pub(crate) selector: String,
}

struct Change {
    version: u64,
    kind: &'static str,
    /// Such as `pods`.
    resource: &'static str,
    object: Value,
}

#[derive(Default)]
struct Cluster {
    version: u64,
    /// Whoever asks for changes after an older one is told that it is gone.
    oldest: u64,
    /// By resource and name.
    objects: BTreeMap<(&'static str, String), Value>,
    log: VecDeque<Change>,
    asked: Asked,
}

struct Shared {
    cluster: Mutex<Cluster>,
    /// Counts changes, and times that all watches were cut.
    news: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
}

/// The server; its cluster survives while it is stopped.
pub(crate) struct Api {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    running: Option<Runtime>,
}

impl Api {
    pub(crate) fn start() -> Self {
        let (news, cuts) = (watch::Sender::new(0), watch::Sender::new(0));
        let shared = Arc::new(Shared { cluster: Mutex::default(), news, cuts });
        let mut api = Self { port: 0, shared, running: None };
        api.go_on();
        api
    }

    /// Starts again, on the same port.
    pub(crate) fn go_on(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.port = listener.local_addr().unwrap().port();
        let router = Router::new().route("/api/v1/{resource}", get(asked)).with_state(Arc::clone(&self.shared));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        self.running = Some(runtime);
    }

    /// All its connections end, and its port is free.
    pub(crate) fn stop(&mut self) {
        let runtime = self.running.take().unwrap();
        // A runtime may not wait for another's end.
        std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
    }

    pub(crate) fn put(&self, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let resource = if object["kind"] == "Service" { "services" } else { "pods" };
        self.change(|cluster| {
            let kind = if cluster.objects.contains_key(&(resource, name.clone())) { "MODIFIED" } else { "ADDED" };
            let object = cluster.note(kind, resource, object);
            cluster.objects.insert((resource, name), object);
        });
    }

    pub(crate) fn remove(&self, resource: &'static str, name: &str) {
        self.change(|cluster| {
            let object = cluster.objects.remove(&(resource, name.to_owned())).unwrap();
            cluster.note("DELETED", resource, object);
        });
    }

    /// Tells all watches how far they are.
    pub(crate) fn bookmark(&self) {
        self.change(|cluster| {
            cluster.note("BOOKMARK", "", json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}}));
        });
    }

    /// Forgets how it came to be as it is.
    pub(crate) fn forget(&self) {
        self.change(|cluster| {
            cluster.log.clear();
            cluster.oldest = cluster.version;
        });
    }

    /// Ends all watches, as a real one does from time to time.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn asked(&self) -> Asked {
        self.shared.cluster().asked.clone()
    }

    pub(crate) fn version(&self) -> u64 {
        self.shared.cluster().version
    }

    fn change(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.shared.cluster());
        self.shared.news.send_modify(|news| *news += 1);
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }
}

impl Cluster {
    fn note(&mut self, kind: &'static str, resource: &'static str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push_back(Change { version: self.version, kind, resource, object: object.clone() });
        if self.log.len() > LOG_MAX {
            self.oldest = self.log.pop_front().unwrap().version;
        }
        object
    }

    /// The line of the next change after `at` that is selected, and where it is; none where there is none yet.
    fn next(&self, at: &mut u64, selected: &Selected) -> Option<String> {
        if *at < self.oldest {
            *at = u64::MAX;
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
                "reason": "Expired", "message": "too old resource version"});
            return Some(json!({"type": "ERROR", "object": status}).to_string() + "\n");
        }
        let first = self.log.partition_point(|change| change.version <= *at);
        for change in self.log.range(first..) {
            *at = change.version;
            if change.kind == "BOOKMARK" || selected.has(change.resource, &change.object) {
                return Some(json!({"type": change.kind, "object": change.object}).to_string() + "\n");
            }
        }
        None
    }
}

/// What a list or watch is of.
struct Selected {
    resource: String,
    /// Pods of this node only.
    node: Option<String>,
}

impl Selected {
    fn has(&self, resource: &str, object: &Value) -> bool {
        resource == self.resource && self.node.as_ref().is_none_or(|node| object["spec"]["nodeName"] == node.as_str())
    }
}

async fn asked(State(shared): State<Arc<Shared>>, Path(resource): Path<String>, uri: Uri) -> Response {
    let query: BTreeMap<_, _> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let text = |key: &str| query.get(key).cloned().unwrap_or_default();
    let selector = text("fieldSelector");
    let selected = Selected { resource, node: selector.strip_prefix("spec.nodeName=").map(str::to_owned) };
    assert_eq!(selected.node.is_some(), selected.resource == "pods", "of pods one node's, of others all: {selector}");
    if query.contains_key("watch") {
        let from = text("resourceVersion").parse().unwrap();
        assert_eq!(text("allowWatchBookmarks"), "true");
        shared.cluster().asked.watches.push(from);
        return follow(shared, selected, from);
    }
    shared.cluster().asked.selector = selector;
    list(&shared, &selected, &text("continue"), text("limit").parse().unwrap_or(usize::MAX)).into_response()
}

fn list(shared: &Shared, selected: &Selected, after: &str, limit: usize) -> Json<Value> {
    let mut cluster = shared.cluster();
    cluster.asked.lists += usize::from(after.is_empty());
    let rest = cluster
        .objects
        .iter()
        .filter(|((resource, name), object)| name.as_str() > after && selected.has(resource, object));
    let mut items: Vec<_> = rest.map(|(_, object)| object.clone()).take(limit.saturating_add(1)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more).map(|object| object["metadata"]["name"].clone());
    let metadata = json!({"resourceVersion": cluster.version.to_string(), "continue": last});
    Json(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

/// Lines as they come, until they are cut.
fn follow(shared: Arc<Shared>, selected: Selected, from: u64) -> Response {
    let (news, cuts) = (shared.news.subscribe(), shared.cuts.subscribe());
    let begin = (shared, selected, from, news, cuts);
    let lines = stream::unfold(begin, async |(shared, selected, mut at, mut news, mut cuts)| {
        loop {
            if at == u64::MAX {
                return None;
            }
            news.borrow_and_update();
            let line = shared.cluster().next(&mut at, &selected);
            if let Some(line) = line {
                return Some((Ok::<_, std::convert::Infallible>(line), (shared, selected, at, news, cuts)));
            }
            tokio::select! {
                _ = news.changed() => {}
                _ = cuts.changed() => return None,
            }
        }
    });
    Body::from_stream(lines).into_response()
}

/// A pod of a Deployment, as the API server has it once the kubelet has given it an address.
pub(crate) fn pod(node: &str, name: &str, deployment: &str, address: &str) -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-5d8f"), "uid": "1",
        "controller": true});
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"pod-template-hash": "5d8f"},
            "ownerReferences": [owner], "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "main"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "192.0.2.1",
            "startTime": "2026-11-20T10:00:00Z", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A service with addresses of its own, or with `None`.
pub(crate) fn service(name: &str, addresses: &[&str]) -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-11-20T10:00:00Z"},
        "spec": {"clusterIP": addresses.first(), "clusterIPs": addresses, "ports": [{"port": 80}]},
    })
}
