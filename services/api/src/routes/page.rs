//! Pages for people; they fetch nothing from other hosts.

use std::sync::LazyLock;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use crate::openapi;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::{Answer, Call};

/// What a page may do: run its own script and style, and ask this service.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";

static EVENTS: LazyLock<Value> = LazyLock::new(synscope_bus::events::document);
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi::document(&super::all()));

/// A page.
#[derive(Debug)]
pub struct Page(&'static str);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
        (headers, self.0).into_response()
    }
}

impl Answer for Page {
    fn content(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![("text/html", String::json_schema(generator))]
    }
}

/// `GET /`.
pub async fn index(_: Call, _: Nothing) -> Result<Page, Problem> {
    Ok(Page(include_str!("../page/index.html")))
}

/// `GET /docs`.
pub async fn docs(_: Call, _: Nothing) -> Result<Page, Problem> {
    Ok(Page(include_str!("../page/docs.html")))
}

/// `GET /v1/asyncapi.json`.
pub async fn asyncapi(_: Call, _: Nothing) -> Result<Json<&'static Value>, Problem> {
    Ok(Json(&EVENTS))
}

/// `GET /openapi.json`.
pub async fn openapi(_: Call, _: Nothing) -> Result<Json<&'static Value>, Problem> {
    Ok(Json(&DOCUMENT))
}
