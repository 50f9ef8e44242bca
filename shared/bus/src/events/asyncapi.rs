//! The `AsyncAPI` 3 document.

use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{EVENTS, Event, HEADERS, meaning};
use crate::envelope::{CONTENT_TYPE, SCHEMA_HEADER};

/// The events as an `AsyncAPI` 3 document. Schemas are JSON Schema of draft 7, which every reader of such documents
/// knows; they describe the payload after `MessagePack` was decoded.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.contract = Contract::Serialize;
    });
    let mut schemas = settings.into_generator();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for event in &EVENTS {
        let name = event.name();
        let payload = (event.schema)(&mut schemas);
        messages.insert(name.clone(), message(event, &payload.to_value()));
        channels.insert(name.clone(), channel(event));
        let operation = json!({
            "action": "send",
            "summary": event.about,
            "channel": { "$ref": format!("#/channels/{name}") },
            "messages": [{ "$ref": format!("#/channels/{name}/messages/{name}") }],
        });
        operations.insert(format!("send-{name}"), operation);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "synscope events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What synscope's services publish on NATS. Anyone may subscribe.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": { "nats": { "host": "localhost:4222", "protocol": "nats", "description": "Any NATS server, 2.10 or newer." } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas.take_definitions(true) },
    })
}

fn channel(event: &Event) -> Value {
    let name = event.name();
    let parameter = |name: &&str| ((*name).to_owned(), json!({ "description": meaning(name) }));
    let parameters: Map<String, Value> = event.parameters.iter().map(parameter).collect();
    json!({
        "address": event.address(),
        "description": event.about,
        "parameters": parameters,
        "messages": { name.clone(): { "$ref": format!("#/components/messages/{name}") } },
    })
}

fn message(event: &Event, payload: &Value) -> Value {
    let header = |(name, about): &(&str, &str)| {
        let mut schema = json!({ "type": "string", "description": about });
        if *name == SCHEMA_HEADER {
            schema["const"] = format!("{}/{}", event.schema_name, event.schema_version).into();
        }
        ((*name).to_owned(), schema)
    };
    let headers: Map<String, Value> = HEADERS.iter().map(header).collect();
    let example: Value = serde_json::from_str(event.example).unwrap_or_default();
    json!({
        "name": event.name(),
        "title": event.about,
        "contentType": CONTENT_TYPE,
        "headers": { "type": "object", "required": HEADERS.map(|(name, _)| name), "properties": headers },
        "payload": payload,
        "examples": [{ "payload": example }],
    })
}
