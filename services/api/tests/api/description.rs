//! The `OpenAPI` document lists every route, and is whole. `BLESS=1 cargo test -p synscope-api` writes the copy in
//! `docs/`, so that a change of the contract is seen in review.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use synscope_api::{openapi, routes};

fn document() -> Value {
    openapi::document(&routes::all())
}

#[test]
fn the_copy_in_docs_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap() == text, "docs/openapi.json is not what the routes say: BLESS=1?");
}

/// Every `$ref` in it.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(target) if name == "$ref" => {
                        found.insert(target);
                    }
                    value => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_described() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for field in ["title", "version"] {
        assert!(document["info"][field].is_string());
    }
    let mut described = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert((method.to_uppercase(), path.clone()));
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            check_operation(path, method, operation);
        }
    }
    let routed = routes::all().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(described, routed);
}

fn check_operation(path: &str, method: &str, operation: &Value) {
    let mut seen = BTreeSet::new();
    for parameter in operation["parameters"].as_array().unwrap() {
        let place = parameter["in"].as_str().unwrap();
        let name = parameter["name"].as_str().unwrap();
        assert!(["path", "query", "header"].contains(&place), "{parameter}");
        assert!(seen.insert((place, name)), "{path} has {name} twice");
        assert!(parameter["schema"].is_object(), "{parameter}");
        assert!(!parameter["schema"].to_string().contains("null"), "a parameter cannot be null: {parameter}");
        if place == "path" {
            assert!(path.contains(&format!("{{{name}}}")) && parameter["required"] == true, "{parameter}");
        } else if place == "query" {
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{parameter}");
        }
    }
    let templates = path.matches('{').count();
    assert_eq!(seen.iter().filter(|(place, _)| *place == "path").count(), templates, "{path}");
    assert_eq!(operation.get("requestBody").is_some(), !["get", "delete"].contains(&method), "{method} {path}");
    for response in operation["responses"].as_object().unwrap().values() {
        assert!(response["description"].is_string());
        let content = response["content"].as_object().unwrap();
        assert!(!content.is_empty() && content.values().all(|media| media.get("schema").is_some()), "{path}");
    }
    assert!(operation["responses"]["default"]["content"].get("application/problem+json").is_some());
}

#[test]
fn every_reference_has_its_schema() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{reference} leads nowhere");
    }
}

#[test]
fn pages_ask_no_other_host() {
    for page in [include_str!("../../src/page/index.html"), include_str!("../../src/page/docs.html")] {
        assert!(!page.contains("://"), "a page names another host");
    }
}
