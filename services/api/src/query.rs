//! Reading what a request asks for: strictly, and naming what is wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::problem::Problem;

/// What one answer lists at most.
pub const LIMIT_MAX: u16 = 1000;

/// A struct of parameters, one field each.
pub trait Parameters: DeserializeOwned + JsonSchema {}

/// What a route can be asked: one or two structs of parameters.
pub trait Asked: Sized {
    /// The schemas of the structs.
    fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema>;
    /// Reads the text after the `?`, names unchecked.
    fn read(query: &str) -> Result<Self, Problem>;
}

impl<T: Parameters> Asked for T {
    fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
        vec![T::json_schema(generator)]
    }

    fn read(query: &str) -> Result<Self, Problem> {
        let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(deserializer)
            .map_err(|error| Problem::parameter(&error.path().to_string(), error.inner().to_string()))
    }
}

impl<A: Parameters, B: Parameters> Asked for (A, B) {
    fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema> {
        vec![A::json_schema(generator), B::json_schema(generator)]
    }

    fn read(query: &str) -> Result<Self, Problem> {
        Ok((<A as Asked>::read(query)?, <B as Asked>::read(query)?))
    }
}

/// Names that a route knows.
pub fn names<Q: Asked>() -> BTreeSet<String> {
    let schemas = Q::schemas(&mut SchemaGenerator::default());
    let properties = schemas.iter().filter_map(|schema| schema.get("properties")?.as_object());
    properties.flat_map(|properties| properties.keys().cloned()).collect()
}

/// Reads the text after the `?`; what is not known, or there twice, is refused.
pub fn read<Q: Asked>(known: &BTreeSet<String>, query: &str) -> Result<Q, Problem> {
    let mut seen = BTreeSet::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(name.as_ref()) {
            let known = if known.is_empty() {
                "this route takes none".to_owned()
            } else {
                format!("known are {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
            };
            return Err(Problem::parameter(&name, format!("parameter {name:?} is unknown: {known}")));
        }
        if !seen.insert(name.clone()) {
            return Err(Problem::parameter(&name, format!("parameter {name:?} is there twice")));
        }
    }
    Q::read(query)
}

/// No parameter at all.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub struct Nothing {}

impl Parameters for Nothing {}

/// How many at most: 1 to [`LIMIT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Limit(u16);

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u64> for Limit {
    type Error = String;

    fn try_from(limit: u64) -> Result<Self, String> {
        let small = u16::try_from(limit).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        small.map(Self).ok_or_else(|| format!("{limit} is not 1 to {LIMIT_MAX}"))
    }
}

impl Limit {
    /// The largest.
    pub const MAX: Self = Self(LIMIT_MAX);

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX })
    }
}

/// A point in time: RFC 3339, Unix ns, or before now, such as `-5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Unix ns UTC.
    At(u64),
    /// So many ns before now.
    Before(u64),
}

impl Moment {
    /// The time in Unix ns UTC, when it is `now_unix_ns`.
    pub const fn unix_ns(self, now_unix_ns: u64) -> u64 {
        match self {
            Self::At(unix_ns) => unix_ns,
            Self::Before(ns) => now_unix_ns.saturating_sub(ns),
        }
    }
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(unix_ns) = text.parse() {
            return Ok(Self::At(unix_ns));
        }
        if let Some(before) = text.strip_prefix('-').and_then(duration) {
            return Ok(Self::Before(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX)));
        }
        // An unescaped `+` in a query is a space.
        let parsed = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok();
        parsed
            .and_then(|time| u64::try_from(time.unix_timestamp_nanos()).ok())
            .map(Self::At)
            .ok_or_else(|| format!("{text:?} is no time: RFC 3339, Unix ns, or before now such as -5m"))
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let number = number.parse::<u64>().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]{1,19}|-[0-9]{1,9}(ms|s|m|h|d)|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+))$",
            "examples": ["-5m", "2026-01-02T03:04:05Z", "1767323045000000000"],
        })
    }
}

/// Reads one of the names of an enum that would take any text as its "unknown".
pub fn named<'de, D: Deserializer<'de>, T: Serialize + DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = serde_json::Value::String(String::deserialize(deserializer)?);
    let value = T::deserialize(&text).map_err(D::Error::custom)?;
    if serde_json::to_value(&value).map_err(D::Error::custom)? == text {
        Ok(Some(value))
    } else {
        Err(D::Error::custom(format!("{text} is unknown")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use synscope_bus::message::flow::FlowKind;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Sample {
        limit: Option<Limit>,
        since: Option<Moment>,
        #[serde(default, deserialize_with = "named")]
        kind: Option<FlowKind>,
        port: Option<u16>,
    }

    impl Parameters for Sample {}

    fn sample(query: &str) -> Result<Sample, Problem> {
        read(&names::<Sample>(), query)
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("port=65536", "port"),
            ("since=yesterday", "since"),
            ("since=-5y", "since"),
            ("since=-", "since"),
            ("kind=slow", "kind"),
            ("prot=1", "prot"),
            ("port=1&port=2", "port"),
            ("port=1&limit=-1", "limit"),
        ] {
            let problem = sample(query).unwrap_err();
            let details = problem.details();
            assert_eq!((details.status, details.field.as_deref()), (400, Some(field)), "{query}: {details:?}");
        }
    }

    #[test]
    fn what_is_right_is_read() {
        let read = sample("limit=7&kind=pending_expired&port=80&since=-5m").unwrap();
        assert_eq!((read.limit.unwrap().get(), read.port), (7, Some(80)));
        assert_eq!(read.kind, Some(FlowKind::PendingExpired));
        assert_eq!(read.since.unwrap().unix_ns(400_000_000_000), 100_000_000_000);
        for text in ["since=2026-01-02T03:04:05Z", "since=2026-01-02T04:04:05%2B01:00", "since=1767323045000000000"] {
            assert_eq!(sample(text).unwrap().since, Some(Moment::At(1_767_323_045_000_000_000)), "{text}");
        }
        assert_eq!(sample("").unwrap().limit, None);
    }

    proptest! {
        #[test]
        fn reading_anything_is_safe_and_names_a_parameter(query in "(limit|since|kind|port|.{0,9})=.{0,30}") {
            if let Err(problem) = sample(&query) {
                prop_assert!(problem.details().field.is_some(), "{:?}", problem.details());
            }
        }

        #[test]
        fn a_time_is_the_same_in_each_form(seconds in 0_u32..=u32::MAX) {
            let unix_ns = u64::from(seconds) * 1_000_000_000;
            let time = OffsetDateTime::from_unix_timestamp(i64::from(seconds)).unwrap().format(&Rfc3339).unwrap();
            prop_assert_eq!(time.parse(), Ok(Moment::At(unix_ns)));
            prop_assert_eq!(unix_ns.to_string().parse(), Ok(Moment::At(unix_ns)));
            prop_assert_eq!(format!("-{seconds}s").parse(), Ok(Moment::Before(unix_ns)));
        }
    }
}
