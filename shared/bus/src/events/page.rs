//! The page for people, in Markdown.

use std::fmt::{self, Write};

use serde_json::Value;

use super::{EVENTS, Event, HEADERS, document, meaning};

const INTRODUCTION: &str = "\
# Events

Generated from the definitions in `shared/bus`: `BLESS=1 cargo test -p synscope-bus --test events` writes it. The same
as an AsyncAPI 3 document: `asyncapi.json`, also at `GET /v1/asyncapi.json`.

Payloads are MessagePack maps with the names of the fields as keys. Readers ignore fields that they do not know, and a
field that is missing has its default (zero, empty, none). Times are Unix ns in UTC, latencies ns; names tell the unit.
`examples/subscribe.py` subscribes to all of it from Python and validates what it gets.
";

/// The events as a page for people, in Markdown.
pub fn page() -> Result<String, fmt::Error> {
    let document = document();
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Headers\n\n| header | what it says |\n|---|---|\n");
    for (name, about) in HEADERS {
        writeln!(page, "| `{name}` | {about} |")?;
    }
    page.push_str("\n## Subjects\n");
    for event in &EVENTS {
        section(&mut page, event, &document)?;
    }
    page.push_str("\n## Types\n");
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.into_iter().flatten() {
        writeln!(page, "\n### {name}\n\n{}", one_line(about(schema)))?;
        fields(&mut page, schema)?;
    }
    Ok(page)
}

fn section(page: &mut String, event: &Event, document: &Value) -> fmt::Result {
    let payload = document.pointer(&format!("/components/messages/{}/payload", event.name()));
    writeln!(page, "\n### `{}`\n\n{}\n", event.address(), event.about)?;
    writeln!(page, "- Subscribe to `{}`.", event.subjects)?;
    for parameter in event.parameters {
        writeln!(page, "- `{parameter}`: {}", meaning(parameter))?;
    }
    let schema = format!("`{}/{}`", event.schema_name, event.schema_version);
    writeln!(page, "- Payload: {}, schema {schema}.", payload.map_or_else(String::new, kind))?;
    match event.stream.map(|stream| (stream.name(), stream.config())) {
        None => writeln!(page, "- Not kept: who is not there misses it."),
        Some((name, config)) => writeln!(
            page,
            "- Kept in the stream `{name}`: {} h, at most {} MiB, the oldest goes first.",
            config.max_age.as_secs() / 3600,
            config.max_bytes >> 20
        ),
    }
}

fn fields(page: &mut String, schema: &Value) -> fmt::Result {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        page.push_str("\n| field | type | meaning |\n|---|---|---|\n");
        for (name, field) in properties {
            writeln!(page, "| `{name}` | {} | {} |", kind(field), one_line(about(field)))?;
        }
    }
    for key in ["oneOf", "anyOf", "enum"] {
        let Some(choices) = schema.get(key).and_then(Value::as_array) else { continue };
        page.push_str("\nOne of:\n\n");
        for choice in choices {
            choice_line(page, choice)?;
        }
    }
    Ok(())
}

fn choice_line(page: &mut String, choice: &Value) -> fmt::Result {
    let text = |value: &Value| value.as_str().map(|text| format!("`{text}`"));
    let names = match (text(choice), choice.get("const").and_then(text), choice.get("enum").and_then(Value::as_array)) {
        (Some(name), ..) | (None, Some(name), _) => name,
        (None, None, Some(names)) => names.iter().filter_map(text).collect::<Vec<_>>().join(", "),
        (None, None, None) => variant(choice),
    };
    match one_line(about(choice)) {
        about if about.is_empty() => writeln!(page, "- {names}"),
        about => writeln!(page, "- {names}: {about}"),
    }
}

/// A choice with fields: the tag's value, and the other fields.
fn variant(choice: &Value) -> String {
    let Some(properties) = choice.get("properties").and_then(Value::as_object) else { return kind(choice) };
    let field = |(name, field): (&String, &Value)| match field.get("const").and_then(Value::as_str) {
        Some(value) => format!("`{name}`: `{value}`"),
        None => format!("`{name}` ({})", kind(field)),
    };
    properties.iter().map(field).collect::<Vec<_>>().join(", ")
}

/// What a schema is, in a word or two.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("allOf")).and_then(Value::as_array) {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        Some(Value::String(of)) if of == "array" => {
            format!("list of {}", schema.get("items").map_or_else(|| "anything".to_owned(), kind))
        }
        Some(Value::String(of)) if of == "object" => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("map to {}", kind(values)),
            _ => of.clone(),
        },
        Some(Value::String(of)) => of.clone(),
        _ => "anything".to_owned(),
    }
}

fn about(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// For a table's cell.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
