//! A route: its handler, and what the `OpenAPI` document says about it, from the same types.

use std::future::Future;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, RawPathParamsRejection};
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Json};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::{Right, Who};
use crate::app::App;
use crate::problem::Problem;
use crate::query::{self, Asked, Nothing};

/// One request, as far as every handler needs it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service.
    pub app: App,
    /// What the path names, such as a node; empty when it names nothing.
    pub subject: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub who: Who,
}

/// What a handler may answer with.
pub trait Answer: IntoResponse {
    /// Media types, and the schema of each.
    fn content(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)>;
}

impl<T: Serialize + JsonSchema> Answer for Json<T> {
    fn content(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![("application/json", generator.subschema_for::<T>())]
    }
}

/// A route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; at most one part of it is a parameter.
    pub path: &'static str,
    /// What it needs.
    pub right: Right,
    /// What it is for, in a sentence.
    pub summary: &'static str,
    /// Schemas of the query's parameters.
    pub asked: fn(&mut SchemaGenerator) -> Vec<Schema>,
    /// Headers it must be told, with the pattern of each.
    pub headers: &'static [(&'static str, &'static str)],
    /// Schema of the body; none when it takes none.
    pub body: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// What it answers.
    pub answer: fn(&mut SchemaGenerator) -> Vec<(&'static str, Schema)>,
    /// What runs.
    pub handler: MethodRouter<App>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Route {
    /// A route that only reads.
    pub fn get<Q, A, F, W>(path: &'static str, summary: &'static str, answer: F) -> Self
    where
        Q: Asked + Send + 'static,
        A: Answer + 'static,
        F: Fn(Call, Q) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<A, Problem>> + Send,
    {
        Self::ask((Method::GET, MethodFilter::GET), path, summary, answer)
    }

    /// A route that anyone may read.
    pub fn open<A, F, W>(path: &'static str, summary: &'static str, answer: F) -> Self
    where
        A: Answer + 'static,
        F: Fn(Call, Nothing) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<A, Problem>> + Send,
    {
        Self { right: Right::Nothing, ..Self::get(path, summary, answer) }
    }

    /// A route that ends what the path names.
    pub fn delete<Q, A, F, W>(right: Right, path: &'static str, summary: &'static str, answer: F) -> Self
    where
        Q: Asked + Send + 'static,
        A: Answer + 'static,
        F: Fn(Call, Q) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<A, Problem>> + Send,
    {
        Self { right, ..Self::ask((Method::DELETE, MethodFilter::DELETE), path, summary, answer) }
    }

    fn ask<Q, A, F, W>(method: (Method, MethodFilter), path: &'static str, summary: &'static str, answer: F) -> Self
    where
        Q: Asked + Send + 'static,
        A: Answer + 'static,
        F: Fn(Call, Q) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<A, Problem>> + Send,
    {
        let known = query::names::<Q>();
        let handler = async move |State(app): State<App>, who: Asking, uri: Uri, path: Path, headers: HeaderMap| {
            let made = async {
                let asked = query::read(&known, uri.query().unwrap_or_default())?;
                answer(Call { app, subject: subject(path)?, headers, who: who.0 }, asked).await
            };
            respond(&uri, made.await)
        };
        Self {
            method: method.0,
            path,
            right: Right::Read,
            summary,
            asked: Q::schemas,
            headers: &[],
            body: None,
            answer: A::content,
            handler: on(method.1, handler),
        }
    }

    /// A route that changes something, and is told what in a JSON body.
    pub fn post<B, A, F, W>(right: Right, path: &'static str, summary: &'static str, answer: F) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send + 'static,
        A: Answer + 'static,
        F: Fn(Call, B) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<A, Problem>> + Send,
    {
        Self::write((Method::POST, MethodFilter::POST), right, path, summary, answer)
    }

    /// A route that replaces a document, of the revision in `If-Match`, with the one in a JSON body.
    pub fn put<B, A, F, W>(right: Right, path: &'static str, summary: &'static str, answer: F) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send + 'static,
        A: Answer + 'static,
        F: Fn(Call, B) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<A, Problem>> + Send,
    {
        let route = Self::write((Method::PUT, MethodFilter::PUT), right, path, summary, answer);
        Self { headers: &[("If-Match", "^(\"[0-9]+\"|[0-9]+)$")], ..route }
    }

    fn write<B, A, F, W>(
        method: (Method, MethodFilter),
        right: Right,
        path: &'static str,
        summary: &'static str,
        answer: F,
    ) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send + 'static,
        A: Answer + 'static,
        F: Fn(Call, B) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<A, Problem>> + Send,
    {
        let known = query::names::<Nothing>();
        let handler =
            async move |State(app): State<App>, who: Asking, uri: Uri, path: Path, headers: HeaderMap, body: Body| {
                let made = async {
                    let Nothing {} = query::read(&known, uri.query().unwrap_or_default())?;
                    let body = body.map_err(|error| Problem::unreadable(error.status(), error.body_text()))?;
                    let body = read_body(&headers, &body)?;
                    answer(Call { app, subject: subject(path)?, headers, who: who.0 }, body).await
                };
                respond(&uri, made.await)
            };
        Self {
            method: method.0,
            path,
            right,
            summary,
            asked: Nothing::schemas,
            headers: &[],
            body: Some(B::json_schema),
            answer: A::content,
            handler: on(method.1, handler),
        }
    }
}

fn respond<A: Answer>(uri: &Uri, answer: Result<A, Problem>) -> Response {
    match answer {
        Ok(answer) => answer.into_response(),
        Err(problem) => problem.at(uri.path()).into_response(),
    }
}

type Asking = Extension<Who>;
type Path = Result<RawPathParams, RawPathParamsRejection>;
type Body = Result<Bytes, BytesRejection>;

fn subject(path: Path) -> Result<String, Problem> {
    let path = path.map_err(|error| Problem::unreadable(error.status(), error.body_text()))?;
    Ok(path.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default())
}

fn read_body<B: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<B, Problem> {
    // A browser sends this type to a foreign host only when that host agrees.
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Problem::media(format!("the body must be application/json, not {media:?}")));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| Problem::body(&error.path().to_string(), error.inner().to_string()))?;
    deserializer.end().map_err(|error| Problem::body("", error.to_string()))?;
    Ok(read)
}
