//! Who may do what, over a real port.

use std::fs;
use std::sync::Arc;

use futures::StreamExt;
use rustls::pki_types::ServerName;
use synscope_api::access::serve::Tls;
use synscope_api::access::{Access, Role, tokens};
use synscope_api::settings::Settings;
use synscope_bus::inbox::Inbox;
use synscope_bus::message::audit::AuditEvent;
use synscope_bus::reasons::reasons;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::service::{DEADLINE, Nats, Response, Service};

const ROLES: [(&str, Role); 4] =
    [("viewer", Role::Viewer), ("tracer", Role::Tracer), ("scripts", Role::TracerScript), ("operator", Role::Operator)];
const JSON: (&str, &str) = ("content-type", "application/json");
const PROBE: &str = r#"{"probe": "drops"}"#;
const SCRIPT: &str = r#"{"script": "BEGIN { exit(); }"}"#;

/// Settings with a token of each role, and the tokens.
fn guarded() -> (Settings, [String; 4], TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let made = ROLES.map(|(name, role)| tokens::make(name, &[role]).unwrap());
    let file = folder.path().join("tokens.toml");
    fs::write(&file, made.iter().map(|(_, entry)| entry.as_str()).collect::<String>()).unwrap();
    (Settings { tokens: Some(file), ..Settings::default() }, made.map(|(token, _)| token), folder)
}

fn ask(service: &Service, token: &str, method: &str, path: &str, body: &str) -> Response {
    service.ask(method, path, &[("authorization", &format!("Bearer {token}")), JSON], body)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_health_is_told() {
    let nats = Nats::new();
    let _server = nats.start();
    let (settings, [viewer, ..], _folder) = guarded();
    let service = Service::start(&nats, settings).await;
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    assert_eq!(service.get("/healthz").status, 200);
    for route in synscope_api::routes::all() {
        let path = route.path.replace("{id}", "x").replace("{node}", "x").replace("{name}", "x");
        if ["/healthz", "/readyz"].contains(&route.path) {
            continue;
        }
        for headers in
            [&[JSON][..], &[JSON, ("authorization", "Bearer syn_0")], &[JSON, ("authorization", "Basic eDp5")]]
        {
            let refused = service.ask(route.method.as_str(), &path, headers, "{}");
            assert_eq!((refused.status, refused.media.as_str()), (401, "application/problem+json"), "{route:?}");
            assert_eq!(refused.json()["instance"], path.as_str());
        }
    }
    assert_eq!(ask(&service, &viewer, "GET", "/v1/incidents", "").status, 200);
    // As a browser shows it.
    let password = data_encoding::BASE64.encode(format!("anyone:{viewer}").as_bytes());
    assert_eq!(service.ask("GET", "/", &[("authorization", &format!("Basic {password}"))], "").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_what_it_is_for_and_what_it_asks_is_told() {
    let nats = Nats::new();
    let _server = nats.start();
    let (settings, tokens, _folder) = guarded();
    let service = Service::start(&nats, settings).await;
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    let outsider = nats.connect().await;
    let mut told = outsider.client().subscribe("synscope.audit").await.unwrap();
    outsider.client().flush().await.unwrap();
    let desired = r#"{"conntrack_entries": 4096}"#;
    // There is no tracer, and no incident: who may ask is told so.
    for (method, path, body, statuses) in [
        ("GET", "/v1/nodes/node-a/desired", "", [200, 200, 200, 200]),
        ("POST", "/v1/traces", PROBE, [403, 503, 503, 403]),
        ("POST", "/v1/traces", SCRIPT, [403, 403, 503, 403]),
        ("DELETE", "/v1/traces/t-1", "", [403, 503, 503, 403]),
        ("POST", "/v1/incidents/i-1/fix", "{}", [403, 403, 403, 404]),
        ("PUT", "/v1/nodes/node-a/desired", desired, [403, 403, 403, 428]),
    ] {
        for ((token, (name, _)), status) in tokens.iter().zip(ROLES).zip(statuses) {
            let answer = ask(&service, token, method, path, body);
            assert_eq!(answer.status, status, "{name}: {method} {path} {body}: {}", answer.text);
            if method == "GET" {
                continue;
            }
            let message = tokio::time::timeout(DEADLINE, told.next()).await.unwrap().unwrap();
            let event = event(&message);
            assert_eq!((event.method.as_str(), event.path.as_str(), event.status), (method, path, status));
            // Who lacks the route's role is told by name, too, but what they sent is not looked at; that it is a script is seen.
            assert_eq!((event.who.as_deref(), event.from.as_str()), (Some(name), "127.0.0.1"));
            assert_eq!(
                event.request,
                if status == 403 && (name, body) != ("tracer", SCRIPT) { "" } else { body },
                "{name} {path}"
            );
            assert_eq!(event.problem, Some(answer.json()["detail"].as_str().unwrap().to_owned()));
        }
    }
    let operator = format!("Bearer {}", tokens[3]);
    let changed = [("authorization", operator.as_str()), JSON, ("if-match", "\"0\"")];
    assert_eq!(service.ask("PUT", "/v1/nodes/node-a/desired", &changed, desired).status, 200);
    let done = event(&tokio::time::timeout(DEADLINE, told.next()).await.unwrap().unwrap());
    assert_eq!((done.who.as_deref(), done.status, done.problem), (Some("operator"), 200, None));
    assert_eq!((done.request.as_str(), done.node.as_str()), (desired, "api"));
}

fn event(message: &async_nats::Message) -> AuditEvent {
    Inbox::default().read::<AuditEvent>(message).unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_ask_again_but_health_is_always_told() {
    let nats = Nats::new();
    let _server = nats.start();
    let settings = Settings { requests_per_second: 1, requests_at_once: 3, ..Settings::default() };
    let service = Service::start(&nats, settings).await;
    let statuses: Vec<u16> = (0..5).map(|_| service.get("/v1/incidents").status).collect();
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses[3..].contains(&429), "{statuses:?}");
    assert!((0..20).all(|_| service.get("/healthz").status == 200));
    let refused = service.get("/v1/incidents").json();
    assert_eq!(refused["detail"], "127.0.0.1 asks too often; try again in 1 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_somebody_else_s_has_no_way_in() {
    let nats = Nats::new();
    let _server = nats.start();
    let service = Service::start(&nats, Settings::default()).await;
    let page = service.ask("GET", "/v1/incidents", &[("host", "evil.example:80")], "");
    assert_eq!((page.status, page.json()["title"].as_str()), (403, Some("Forbidden")));
    // Nothing allows another origin, and what a form can send is no change.
    let preflight = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let answer = service.ask("OPTIONS", "/v1/traces", &preflight, "");
    assert_eq!(answer.status, 405);
    assert_eq!(service.ask("POST", "/v1/traces", &[("content-type", "text/plain")], PROBE).status, 415);
}

#[test]
fn the_door_stays_shut_where_nothing_would_guard_it() {
    let open = Settings { listen: "0.0.0.0:8080".parse().unwrap(), ..Settings::default() };
    let refused = reasons(&Access::new(&open).unwrap_err());
    assert!(
        refused.starts_with("configuration key \"listen\": without \"tokens\" only a loopback address"),
        "{refused}"
    );
    let (guarded, _, _folder) = guarded();
    assert!(Access::new(&Settings { listen: open.listen, ..guarded }).is_ok());
    let absent = Settings { tokens: Some("/no/such/tokens.toml".into()), ..Settings::default() };
    let refused = reasons(&Access::new(&absent).unwrap_err());
    assert!(refused.starts_with("tokens /no/such/tokens.toml: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_same_is_told() {
    let nats = Nats::new();
    let _server = nats.start();
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Tls { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    fs::write(&tls.certificate, made.cert.pem()).unwrap();
    fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let service = Service::start(&nats, Settings { tls: Some(tls), ..Settings::default() }).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let plain = tokio::net::TcpStream::connect(("127.0.0.1", service.port)).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), plain).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Whoever closes first without a word has still said all.
    let _closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}
