//! Keys and values of a trace's maps.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number. On the wire it has 64 bits, with a sign only where it is negative; what a sum over nodes has beyond
/// them is cut to the nearest number that fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub i128);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 < 0 {
            serializer.serialize_i64(i64::try_from(self.0).unwrap_or(i64::MIN))
        } else {
            serializer.serialize_u64(u64::try_from(self.0).unwrap_or(u64::MAX))
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Positive(u64),
            Negative(i64),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Positive(number) => Self(number.into()),
            Written::Negative(number) => Self(number.into()),
        })
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer" })
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self(number.into())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number.into())
    }
}

/// A key or a value. What a node knows by a number of its own, such as an address in the kernel's code, is there by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text; bytes that are none are written as `\xff`.
    Text(String),
    /// Several, side by side.
    Tuple(Vec<Value>),
    /// Members of a struct, by name.
    Record(BTreeMap<String, Value>),
}
