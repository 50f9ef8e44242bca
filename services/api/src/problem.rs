//! Errors as RFC 9457 problems.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use synscope_bus::command::CommandError;
use synscope_bus::command::tracer::Diagnostic;
use synscope_bus::document::DocumentError;
use synscope_bus::message::incident::Advice;
use synscope_bus::reasons::reasons;

/// The media type of a problem.
pub const MEDIA: &str = "application/problem+json";

/// What went wrong with a request, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Details {
    /// The kind of problem, as a URN.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This problem, for people.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// The parameter or the field of the body that is wrong; absent when it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What a person can do instead; absent when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Advice>,
    /// What is wrong with a script, by place; absent when it is nothing of that kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    details: Box<Details>,
    /// When it may be asked again, s.
    retry_after_s: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, slug: &str, title: &str, detail: impl Into<String>) -> Self {
        let details = Box::new(Details {
            kind: format!("urn:synscope:problem:{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            ..Details::default()
        });
        Self { details, retry_after_s: None }
    }

    fn of(mut self, field: &str) -> Self {
        self.details.field = Some(field.to_owned());
        self
    }

    /// What went wrong.
    pub fn details(&self) -> &Details {
        &self.details
    }

    /// 400: a parameter, named, is unknown or has a bad value.
    pub fn parameter(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "parameter", "Bad parameter", detail).of(field)
    }

    /// 400: the body is not as described; `field` is the place in it, empty for all of it.
    pub fn body(field: &str, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "body", "Bad body", detail);
        if matches!(field, "" | "." | "?") { problem } else { problem.of(field) }
    }

    /// The request could not be read at all: 400, or 413 for a body that is too large.
    pub fn unreadable(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(status, "request", "Unreadable request", detail)
    }

    /// 401: no token, or one that nobody knows.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token", "Not authorized", detail).of("Authorization")
    }

    /// 403: the token is not for this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 405.
    pub fn method(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed", detail)
    }

    /// 409: someone else was faster.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }

    /// 412: the revision is another one by now.
    pub fn precondition(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "revision", "Precondition failed", detail).of("If-Match")
    }

    /// 413: the body is too large.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::unreadable(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: the body is of another media type.
    pub fn media(detail: impl Into<String>) -> Self {
        let title = "Unsupported media type";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", title, detail).of("Content-Type")
    }

    /// 422: understood, but not possible.
    pub fn not_possible(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not-possible", "Not possible", detail)
    }

    /// 428: a write without the revision it is based on.
    pub fn revision_wanted(detail: impl Into<String>) -> Self {
        let title = "Precondition required";
        Self::new(StatusCode::PRECONDITION_REQUIRED, "revision-wanted", title, detail).of("If-Match")
    }

    /// 429: asked too often; it may be asked again after so long.
    pub fn too_many(detail: impl Into<String>, wait: Duration) -> Self {
        // A whole second at least, so that nobody asks again too early.
        let seconds = wait.as_secs() + 1;
        let detail = format!("{}; try again in {seconds} s", detail.into());
        Self {
            retry_after_s: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate", "Too many requests", detail)
        }
    }

    /// 502: another service's answer is not as agreed.
    pub fn gateway(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "answer", "Answer not as agreed", detail)
    }

    /// 503: NATS is not there.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available", detail)
    }

    /// 504: another service did not answer in time.
    pub fn silent(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "silent", "No answer in time", detail)
    }

    /// 500: what should never be.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// The same problem, met at this path.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.details.instance);
        self
    }

    /// The same problem, with what a person can do instead.
    #[must_use]
    pub fn advising(mut self, advice: &[Advice]) -> Self {
        self.details.advice = advice.to_vec();
        self
    }

    /// The same problem, with what is wrong with a script.
    #[must_use]
    pub fn diagnosing(mut self, diagnostics: &[Diagnostic]) -> Self {
        self.details.diagnostics = diagnostics.to_vec();
        self
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = reasons(&error);
        match error {
            CommandError::Node(_) => Self::parameter("node", detail),
            CommandError::Nobody { .. } => Self::not_found(detail),
            CommandError::Silent { .. } | CommandError::Announce(_) => Self::silent(detail),
            CommandError::Refused(_) => Self::not_possible(detail),
            CommandError::Payload(_) => Self::gateway(detail),
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        let detail = reasons(&error);
        match error {
            DocumentError::Conflict { .. } => Self::conflict(detail),
            DocumentError::Foreign { .. } | DocumentError::Unknown { .. } => Self::gateway(detail),
            DocumentError::Bucket(_)
            | DocumentError::Open { .. }
            | DocumentError::List { .. }
            | DocumentError::Read { .. }
            | DocumentError::Write { .. } => Self::unavailable(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.details.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&*self.details)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
        if status == StatusCode::UNAUTHORIZED {
            // A browser asks for a user and a password, the token; clients show it as a bearer's.
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"synscope\""));
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"synscope\""));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(*self.details);
        response
    }
}
