//! Server-sent events: what happens, as it happens.

use std::marker::PhantomData;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use synscope_bus::message::incident::Incident;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::app::App;
use crate::problem::Problem;
use crate::query::Nothing;
use crate::route::{Answer, Call};
use crate::store::incidents::Changed;

/// Between two signs of life on a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a slow reader of a stream missed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Missed {
    /// Events, before filtering.
    pub missed: u64,
}

/// An incident that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Gone {
    /// Which.
    pub id: String,
}

type Made = Result<Event, axum::Error>;

/// A stream of events, most of them `T`.
pub struct Events<T> {
    events: BoxStream<'static, Made>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Events<T> {
    /// Tells what is received, if `event` makes something of it, until the service ends. A reader that is too slow is
    /// told how many it missed.
    pub fn new<E, F>(app: &App, receiver: Receiver<E>, event: F) -> Self
    where
        E: Clone + Send + 'static,
        F: Fn(E) -> Option<Made> + Send + 'static,
    {
        let counting = app.clone();
        let events = stream::unfold((receiver, event), move |(mut receiver, event)| {
            let app = counting.clone();
            async move {
                loop {
                    match receiver.recv().await {
                        Ok(heard) => {
                            if let Some(made) = event(heard) {
                                return Some((made, (receiver, event)));
                            }
                        }
                        Err(RecvError::Lagged(missed)) => {
                            app.count_missed(missed);
                            let told = Event::default().event("missed").json_data(Missed { missed });
                            return Some((told, (receiver, event)));
                        }
                        Err(RecvError::Closed) => return None,
                    }
                }
            }
        });
        Self::of(app, events)
    }

    /// Tells these, until the service ends.
    pub fn of(app: &App, events: impl Stream<Item = Made> + Send + 'static) -> Self {
        let ending = app.life.clone();
        let events = events.take_until(async move { ending.stopped().await }).boxed();
        Self { events, kind: PhantomData }
    }
}

impl<T> IntoResponse for Events<T> {
    fn into_response(self) -> Response {
        Sse::new(self.events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }
}

impl<T: JsonSchema> Answer for Events<T> {
    fn content(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![("text/event-stream", generator.subschema_for::<T>())]
    }
}

/// `GET /v1/events/stream`.
pub async fn incidents(call: Call, _: Nothing) -> Result<Events<Incident>, Problem> {
    let receiver = call.app.store.live_incidents.subscribe();
    Ok(Events::new(&call.app, receiver, |changed| {
        Some(match changed {
            Changed::Put(incident) => Event::default().event("incident").json_data(incident),
            Changed::Gone(id) => Event::default().event("gone").json_data(Gone { id }),
        })
    }))
}
