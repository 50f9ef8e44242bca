//! The `OpenAPI` 3.1 document, made of the table of routes and the schemas of their types.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::problem;
use crate::route::Route;

/// What a node may be called.
const NODE: &str = "^[a-z0-9_-]{1,63}$";

/// The document for these routes.
pub fn document(routes: &[Route]) -> Value {
    let mut answers = generator(Contract::Serialize, false);
    let problem = answers.subschema_for::<problem::Details>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let operation = operation(route, &problem, &mut answers);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(route.method.as_str().to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "synscope",
            "summary": "Which connections are slow, how often, why, and what helps",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": answers.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "Where tokens are configured." },
            },
        },
    })
}

fn generator(contract: Contract, inline: bool) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.contract = contract;
        settings.inline_subschemas = inline;
    });
    settings.into_generator()
}

fn operation(route: &Route, problem: &Schema, answers: &mut SchemaGenerator) -> Value {
    let mut asked = generator(Contract::Deserialize, true);
    let content: Map<String, Value> = (route.answer)(answers)
        .into_iter()
        .map(|(media, schema)| (media.to_owned(), json!({ "schema": schema })))
        .collect();
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters(route, &mut asked),
        "responses": {
            "200": { "description": "As asked", "content": content },
            "default": { "description": "A problem", "content": { problem::MEDIA: { "schema": problem } } },
        },
    });
    if let (Some(role), Value::Object(operation)) = (route.right.role(), &mut operation) {
        operation.insert("security".to_owned(), json!([{ "token": [role] }]));
    }
    if let (Some(body), Value::Object(operation)) = (route.body, &mut operation) {
        let schema = body(&mut asked);
        let body = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        operation.insert("requestBody".into(), body);
    }
    operation
}

/// `get_v1_nodes_node_conntrack` for `GET /v1/nodes/{node}/conntrack`.
fn operation_id(route: &Route) -> String {
    let path: String = route.path.chars().filter(|c| !matches!(c, '{' | '}')).collect();
    let words = path.split(['/', '.', '-']).filter(|word| !word.is_empty());
    std::iter::once(route.method.as_str().to_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route, asked: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let named = |place: &str, name: &str, pattern: &str| {
        let schema = json!({ "type": "string", "pattern": pattern });
        json!({ "name": name, "in": place, "required": true, "schema": schema })
    };
    let pattern = |name| if name == "node" { NODE } else { "^.+$" };
    let mut parameters: Vec<Value> = in_path.map(|name| named("path", name, pattern(name))).collect();
    parameters.extend(route.headers.iter().map(|(name, pattern)| named("header", name, pattern)));
    for schema in (route.asked)(asked) {
        let Some(Value::Object(properties)) = schema.get("properties") else { continue };
        for (name, schema) in properties {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            parameters.push(json!({
                "name": name,
                "in": "query",
                "description": description,
                "schema": given(schema),
            }));
        }
    }
    parameters
}

/// The schema of a value that may be absent, when it is there: a parameter cannot be null.
fn given(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|of| of != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(mut choices)) = schema.remove("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        if choices.len() == 1 {
            return choices.remove(0);
        }
        schema.insert("anyOf".into(), Value::Array(choices));
    }
    schema.remove("default");
    Value::Object(schema)
}
