//! A node's connection tables, asked for just now.

use std::net::IpAddr;

use axum::Json;
use schemars::JsonSchema;
use serde::Deserialize;
use synscope_abi::tcp::State;
use synscope_bus::command;
use synscope_bus::command::datapath::{ConntrackPart, ConntrackTop, ListConntrack, TopConntrack};

use crate::problem::Problem;
use crate::query::{Limit, Parameters};
use crate::route::Call;

/// Which connections are wanted: all that is given must hold.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ConntrackQuery {
    /// Either side's address.
    pub address: Option<IpAddr>,
    /// Either side's port.
    pub port: Option<u16>,
    /// The entry's state, such as `syn_sent`.
    pub state: Option<String>,
    /// How many at most; 100 when absent.
    pub limit: Option<Limit>,
    /// `next` of the previous part; absent for the first.
    pub cursor: Option<String>,
}

/// How many lines are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct TopQuery {
    /// How many at most; 100 when absent.
    pub limit: Option<Limit>,
}

impl Parameters for ConntrackQuery {}
impl Parameters for TopQuery {}

/// `GET /v1/nodes/{node}/conntrack`.
pub async fn list(call: Call, asked: ConntrackQuery) -> Result<Json<ConntrackPart>, Problem> {
    if let Some(state) = &asked.state {
        check_state(state)?;
    }
    if let Some(cursor) = asked.cursor.as_ref().filter(|cursor| cursor.parse::<u64>().is_err()) {
        return Err(Problem::parameter("cursor", format!("{cursor:?} is no cursor: take `next` of a part")));
    }
    let question = ListConntrack {
        address: asked.address.map(|address| address.to_string()),
        port: asked.port,
        state: asked.state,
        after: asked.cursor,
        limit: asked.limit.unwrap_or_default().get(),
    };
    Ok(Json(command::ask(call.app.nats()?, &call.subject, &question).await?))
}

/// `GET /v1/nodes/{node}/conntrack/top`.
pub async fn top(call: Call, asked: TopQuery) -> Result<Json<Vec<ConntrackTop>>, Problem> {
    let question = TopConntrack { limit: asked.limit.unwrap_or_default().get() };
    Ok(Json(command::ask(call.app.nats()?, &call.subject, &question).await?))
}

fn check_state(state: &str) -> Result<(), Problem> {
    let known: Vec<_> = (0..=u8::MAX).filter_map(State::from_number).map(State::name).collect();
    if known.contains(&state) {
        return Ok(());
    }
    Err(Problem::parameter("state", format!("state {state:?} is unknown: known are {}", known.join(", "))))
}
