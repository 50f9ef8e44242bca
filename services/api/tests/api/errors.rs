//! Each kind of error, and what it names.

use synscope_api::settings::Settings;

use crate::service::{Nats, Service};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problems_that_name_what_is_wrong() {
    let nats = Nats::new();
    let _server = nats.start();
    let service = Service::start(&nats, Settings::default()).await;
    service.json_when("/readyz", |ready| ready["ready"] == true).await;
    let fix = "/v1/incidents/x/fix";
    let desired = "/v1/nodes/node-a/desired";
    let tagged = [JSON, ("if-match", "\"7\"")];
    let unreadable = [JSON, ("if-match", "W/x")];
    for (method, path, headers, body, status, field) in [
        ("GET", "/v1/flows?lmit=1", &[][..], "", 400, Some("lmit")),
        ("GET", "/v1/flows?limit=1001", &[], "", 400, Some("limit")),
        ("GET", "/v1/flows?limit=5&limit=6", &[], "", 400, Some("limit")),
        ("GET", "/v1/flows?cursor=1-x", &[], "", 400, Some("cursor")),
        ("GET", "/v1/flows?cursor=1-1", &[], "", 400, Some("cursor")),
        ("GET", "/v1/flows?address=here", &[], "", 400, Some("address")),
        ("GET", "/v1/flows?kind=slow", &[], "", 400, Some("kind")),
        ("GET", "/v1/flows/stream?verdict=forwarded", &[], "", 400, Some("verdict")),
        ("GET", "/v1/flows/stream?limit=1", &[], "", 400, Some("limit")),
        ("GET", "/v1/edges?since=soon", &[], "", 400, Some("since")),
        ("GET", "/v1/signals?step_ms=0", &[], "", 400, Some("step_ms")),
        ("GET", "/v1/reports/slow-syns?above_ms=-1", &[], "", 400, Some("above_ms")),
        ("GET", "/v1/nodes?x", &[], "", 400, Some("x")),
        ("GET", "/v1/nodes/Node/conntrack", &[], "", 400, Some("node")),
        ("GET", "/v1/nodes/node-a/conntrack?state=open", &[], "", 400, Some("state")),
        ("GET", "/v1/nodes/node-a/conntrack?cursor=next", &[], "", 400, Some("cursor")),
        ("GET", "/v1/nodes/node-a/conntrack", &[], "", 404, None),
        ("GET", "/v1/incidents/x", &[], "", 404, None),
        ("GET", "/v2", &[], "", 404, None),
        ("DELETE", "/v1/nodes", &[], "", 405, None),
        ("POST", fix, &[], "{}", 415, Some("Content-Type")),
        ("POST", fix, &[JSON], "{", 400, None),
        ("POST", fix, &[JSON], "{} {}", 400, None),
        ("POST", fix, &[JSON], r#"{"dry_run": 1}"#, 400, Some("dry_run")),
        ("POST", fix, &[JSON], r#"{"dryrun": true}"#, 400, Some("dryrun")),
        ("POST", "/v1/incidents/x/fix?dry_run=true", &[JSON], "{}", 400, Some("dry_run")),
        ("POST", fix, &[JSON], "{}", 404, None),
        ("PUT", desired, &[JSON], "{}", 428, Some("If-Match")),
        ("PUT", desired, &tagged, "{}", 412, Some("If-Match")),
        ("PUT", desired, &unreadable, "{}", 412, Some("If-Match")),
        ("PUT", desired, &tagged, r#"{"conntrack_entries": -1}"#, 400, Some("conntrack_entries")),
        ("PUT", desired, &tagged, r#"{"conntrack_entries": 0}"#, 400, Some("conntrack_entries")),
        ("PUT", desired, &tagged, r#"{"conntrack_entries": 16777217}"#, 400, Some("conntrack_entries")),
        ("PUT", desired, &tagged, r#"{"entries": 1}"#, 400, Some("entries")),
        ("PUT", "/v1/nodes/a%2Fb/desired", &tagged, "{}", 400, Some("node")),
        ("POST", "/v1/traces", &[JSON], "{}", 400, Some("script")),
        ("POST", "/v1/traces", &[JSON], r#"{"script": "", "probe": "drops"}"#, 400, Some("probe")),
        ("POST", "/v1/traces", &[JSON], r#"{"script": "", "parameters": {"port": "1"}}"#, 400, Some("parameters")),
        ("POST", "/v1/traces", &[JSON], r#"{"probe": "drops", "arguments": ["1"]}"#, 400, Some("arguments")),
        ("POST", "/v1/traces", &[JSON], r#"{"probe": "drops", "limits": {"hits": 1}}"#, 400, Some("limits")),
        ("POST", "/v1/traces", &[JSON], r#"{"probe": "drops", "nodes": []}"#, 400, Some("nodes")),
        ("POST", "/v1/traces", &[JSON], r#"{"probe": "drops", "nodes": ["A"]}"#, 400, Some("nodes")),
        (
            "POST",
            "/v1/traces",
            &[JSON],
            r#"{"probe": "drops", "nodes": ["a"], "duration_ms": 0}"#,
            400,
            Some("duration_ms"),
        ),
        ("POST", "/v1/traces", &[JSON], r#"{"probe": "drops", "time": 1}"#, 400, Some("time")),
        ("POST", "/v1/traces", &[JSON], r#"{"probe": "drops", "nodes": ["node-z"]}"#, 404, None),
        ("POST", "/v1/traces", &[JSON], r#"{"probe": "drops"}"#, 503, None),
        ("POST", "/v1/traces/check", &[JSON], "{}", 400, Some("script")),
        ("POST", "/v1/traces/check", &[JSON], r#"{"script": "BEGIN { }"}"#, 503, None),
        ("GET", "/v1/traces", &[], "", 503, None),
        ("GET", "/v1/traces/T", &[], "", 400, Some("id")),
        ("GET", "/v1/traces/t/stream?x=1", &[], "", 400, Some("x")),
        ("DELETE", "/v1/traces/t", &[], "", 503, None),
        ("GET", "/v1/probes", &[], "", 503, None),
        ("GET", "/v1/probes?node=node-z", &[], "", 404, None),
        ("GET", "/v1/functions?limit=0", &[], "", 400, Some("limit")),
        ("GET", "/v1/functions?matches=x", &[], "", 400, Some("matches")),
        ("GET", "/v1/types/sock?node=Z", &[], "", 400, Some("node")),
    ] {
        let answer = service.ask(method, path, headers, body);
        assert_eq!((answer.status, answer.media.as_str()), (status, "application/problem+json"), "{method} {path}");
        let problem = answer.json();
        assert_eq!(problem.get("field").and_then(|field| field.as_str()), field, "{method} {path} {body}: {problem}");
        assert_eq!(problem["status"], status);
        let instance = path.split('?').next().unwrap();
        assert_eq!(problem["instance"].as_str(), Some(instance));
        for name in ["type", "title", "detail"] {
            assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{name} of {problem}");
        }
    }
    let large = format!(r#"{{"dry_run": {}}}"#, " ".repeat(100_000));
    let refused = service.post(fix, &large);
    assert_eq!((refused.status, refused.media.as_str()), (413, "application/problem+json"));
    let unreadable = service.get("/v1/incidents/%FF");
    assert_eq!((unreadable.status, unreadable.media.as_str()), (400, "application/problem+json"));
}
