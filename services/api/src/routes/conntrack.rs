//! A node's connection tables, asked for just now.

use std::net::IpAddr;

use axum::Json;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
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
    #[schemars(extend("pattern" = "^[0-9a-fA-F:.]{2,45}$"))]
    pub address: Option<IpAddr>,
    /// Either side's port.
    pub port: Option<u16>,
    /// The entry's state, such as `syn_sent`.
    pub state: Option<StateName>,
    /// How many at most; 100 when absent.
    pub limit: Option<Limit>,
    /// `next` of the previous part; absent for the first.
    pub cursor: Option<u64>,
}

/// How many lines are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct TopQuery {
    /// How many at most; 100 when absent.
    pub limit: Option<Limit>,
}

/// A state of an entry, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StateName(String);

impl StateName {
    fn known() -> Vec<&'static str> {
        (0..=u8::MAX).filter_map(State::from_number).map(State::name).collect()
    }
}

impl TryFrom<String> for StateName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = Self::known();
        if known.contains(&name.as_str()) {
            Ok(Self(name))
        } else {
            Err(format!("state {name:?} is unknown: known are {}", known.join(", ")))
        }
    }
}

impl JsonSchema for StateName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StateName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::known() })
    }
}

impl Parameters for ConntrackQuery {}
impl Parameters for TopQuery {}

/// `GET /v1/nodes/{node}/conntrack`.
pub async fn list(call: Call, asked: ConntrackQuery) -> Result<Json<ConntrackPart>, Problem> {
    let question = ListConntrack {
        address: asked.address.map(|address| address.to_string()),
        port: asked.port,
        state: asked.state.map(|StateName(name)| name),
        after: asked.cursor.map(|place| place.to_string()),
        limit: asked.limit.unwrap_or_default().get(),
    };
    Ok(Json(command::ask(call.app.nats()?, &call.subject, &question).await?))
}

/// `GET /v1/nodes/{node}/conntrack/top`.
pub async fn top(call: Call, asked: TopQuery) -> Result<Json<Vec<ConntrackTop>>, Problem> {
    let question = TopConntrack { limit: asked.limit.unwrap_or_default().get() };
    Ok(Json(command::ask(call.app.nats()?, &call.subject, &question).await?))
}
