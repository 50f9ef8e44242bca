//! What nodes are told apart by, beside their names: `zone=a,rack=7`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const MAX: usize = 63;

/// Labels of a node, or those that are looked for. As text they are pairs with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

/// Why a text is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not a pair.
    #[error("label {0:?} is not as key=value")]
    Pair(String),
    /// Its name cannot be.
    #[error("the label's name {0:?} must have 1 to 63 of a-z, 0-9, '-', '_' and '.'")]
    Name(String),
    /// Its value cannot be.
    #[error("label {name:?} has the value {value:?}, which must have 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'")]
    Value {
        /// The label.
        name: String,
        /// Its value.
        value: String,
    },
    /// Its value is no text: what it was written as is not known any more.
    #[error("label {name:?} has the value {value}, which is no text: quote it, or write all as name=value,name=value")]
    NoText {
        /// The label.
        name: String,
        /// Its value.
        value: String,
    },
    /// It has two values.
    #[error("label {0:?} has two values")]
    Twice(String),
}

impl Labels {
    /// None.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of the others are among these.
    pub fn have(&self, others: &Self) -> bool {
        others.0.iter().all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// Names and values.
    pub const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn put(&mut self, name: &str, value: &str) -> Result<(), LabelError> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if !(1..=MAX).contains(&name.len()) || !name.chars().all(is_name) {
            return Err(LabelError::Name(name.to_owned()));
        }
        if !(1..=MAX).contains(&value.len()) || !value.chars().all(|c| is_name(c) || c.is_ascii_uppercase()) {
            return Err(LabelError::Value { name: name.to_owned(), value: value.to_owned() });
        }
        match self.0.insert(name.to_owned(), value.to_owned()) {
            Some(_) => Err(LabelError::Twice(name.to_owned())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Labels {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let mut labels = Self::none();
        for pair in text.split(',').map(str::trim) {
            let (name, value) = pair.split_once('=').ok_or_else(|| LabelError::Pair(pair.to_owned()))?;
            labels.put(name.trim(), value.trim())?;
        }
        Ok(labels)
    }
}

/// From a map, or from a text: the environment gives numbers for values that look like some, and `007` would be 7.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels by name, or as name=value,name=value")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Labels, E> {
                if text.trim().is_empty() { Ok(Labels::none()) } else { text.parse().map_err(E::custom) }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Labels::none();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    let put = match value {
                        Value::String(value) => labels.put(&name, &value),
                        value => Err(LabelError::NoText { name, value: value.to_string() }),
                    };
                    put.map_err(A::Error::custom)?;
                }
                Ok(labels)
            }
        }

        from.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        assert_eq!(labels("zone=a, rack=007").to_string(), "rack=007,zone=a");
        assert_eq!(
            serde_json::from_str::<Labels>(r#"{"rack": "007", "zone": "a"}"#).unwrap(),
            labels("zone=a,rack=007")
        );
        assert_eq!(serde_json::from_str::<Labels>(r#""zone=a""#).unwrap(), labels("zone=a"));
        assert_eq!(serde_json::from_str::<Labels>(r#""""#).unwrap(), Labels::none());
        assert_eq!(serde_json::to_string(&labels("zone=a")).unwrap(), r#"{"zone":"a"}"#);
    }

    #[test]
    fn all_that_are_looked_for_must_be_there() {
        let of_node = labels("zone=a,rack=7");
        assert!(of_node.have(&labels("zone=a")) && of_node.have(&of_node) && of_node.have(&Labels::none()));
        assert!(!of_node.have(&labels("zone=b")) && !of_node.have(&labels("zone=a,disk=ssd")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| text.parse::<Labels>().unwrap_err().to_string();
        assert_eq!(wrong("zone=a,"), r#"label "" is not as key=value"#);
        assert!(wrong("Zone=a").starts_with(r#"the label's name "Zone" must have"#));
        assert!(wrong("zone=").starts_with(r#"label "zone" has the value "", which must have"#));
        assert!(wrong("zone=a=b").contains(r#""a=b""#));
        assert_eq!(wrong("zone=a,zone=b"), r#"label "zone" has two values"#);
        let number = serde_json::from_str::<Labels>(r#"{"rack": 7}"#).unwrap_err().to_string();
        assert!(number.contains(r#"label "rack" has the value 7, which is no text"#), "{number}");
    }
}
