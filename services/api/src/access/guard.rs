//! Before and after each request: who asks, whether they may, and, where something was to change, a word about it.

use std::net::SocketAddr;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Right, Who, audit};
use crate::app::App;
use crate::problem::{Details, Problem};
use crate::routes::BODY_MAX;

/// A route's door.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) app: App,
    pub(crate) right: Right,
}

/// Lets a request through that may pass, and audits it where it is not one that only reads.
pub(crate) async fn guard(
    State(Door { app, right }): State<Door>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let identified = match right {
        Right::Nothing => Ok(Who::anyone()),
        _ => app.access.identify(request.headers(), from.ip()),
    };
    let name = identified.as_ref().ok().and_then(|who| who.name.clone());
    let mut asked = Bytes::new();
    let answer = match identified.and_then(|who| who.may(right).map(|()| who)) {
        Err(problem) => problem.at(&path).into_response(),
        Ok(who) => {
            request.extensions_mut().insert(who);
            if method.is_safe() {
                next.run(request).await
            } else {
                let (parts, body) = request.into_parts();
                match to_bytes(body, BODY_MAX).await {
                    Ok(body) => {
                        asked = body.clone();
                        next.run(Request::from_parts(parts, Body::from(body))).await
                    }
                    Err(error) => Problem::too_large(error.to_string()).at(&path).into_response(),
                }
            }
        }
    };
    if !method.is_safe() {
        let problem = answer.extensions().get::<Details>().map(|problem| problem.detail.clone());
        let status = answer.status().as_u16();
        app.audit.tell(audit::Asked {
            who: name,
            from: from.ip(),
            method: &method,
            path: &path,
            body: &asked,
            status,
            problem,
        });
    }
    answer
}
