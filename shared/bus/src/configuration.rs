//! A service's configuration: defaults, then a file, then the environment.
//!
//! The environment names a key by its path in capitals, `SYNSCOPE_NATS__URL` for `nats.url`. Keys that the service
//! does not know are refused, with the one that was probably meant.

use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::subject::{NodeId, SubjectError};

const PREFIX: &str = "SYNSCOPE";
/// Set by whoever starts the service, and no key: who reads logs, and where the file is.
const NO_KEYS: [&str; 1] = ["config"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file or a value in it.
    #[error("configuration{}", .file.as_ref().map(|file| format!(" {}", file.display())).unwrap_or_default())]
    Read {
        /// The file, if there is one.
        file: Option<PathBuf>,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// A key that the service does not know.
    #[error("configuration {0}")]
    Unknown(#[from] UnknownKey),
    /// The defaults cannot be written down: a mistake in the service.
    #[error("the defaults are no document")]
    Defaults(#[from] serde_json::Error),
}

/// A key that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?} is unknown{}", .meant.as_ref().map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default())]
pub struct UnknownKey {
    /// The whole path.
    pub key: String,
    /// The known key nearest to it.
    pub meant: Option<String>,
}

/// Why a node has no name.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The name is no NATS token.
    #[error("configuration key \"node\": {0}")]
    Name(#[from] SubjectError),
    /// The host has no name.
    #[error("configuration key \"node\" is needed: the host's name cannot be read")]
    Host(#[from] nix::errno::Errno),
}

/// A node's name as it is configured; where that is empty, the host's.
pub fn node_id(configured: &str) -> Result<NodeId, NodeError> {
    if !configured.is_empty() {
        return Ok(NodeId::new(configured)?);
    }
    let host = nix::unistd::gethostname()?.to_string_lossy().to_lowercase();
    // A domain name's dots would be token separators.
    Ok(NodeId::new(host.replace('.', "-"))?)
}

/// Where NATS is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nats {
    /// `nats://host:port`, or `tls://…`.
    pub url: String,
    /// Folder with the secret key that this program shows, and the authority's certificate that the server's is to be of, as
    /// `synscope credentials` makes it; see [`crate::permissions::key_file`].
    pub credentials: Option<PathBuf>,
}

impl Default for Nats {
    fn default() -> Self {
        Self { url: "nats://127.0.0.1:4222".into(), credentials: None }
    }
}

/// There, without a key.
impl From<&str> for Nats {
    fn from(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }
}

/// There, without a key.
impl From<&String> for Nats {
    fn from(url: &String) -> Self {
        Self::from(url.as_str())
    }
}

impl From<&Self> for Nats {
    fn from(nats: &Self) -> Self {
        nats.clone()
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,synscope_bus=debug`.
    pub filter: String,
    /// One JSON object per line instead of text.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info,async_nats=warn".into(), json: false }
    }
}

/// Reads the configuration. `T`'s default names every key, so none of its fields may be skipped when written.
pub fn load<T: Serialize + DeserializeOwned + Default>(file: Option<&Path>) -> Result<T, ConfigurationError> {
    load_with(file, Environment::with_prefix(PREFIX))
}

/// Reads another file in one of the same formats, without environment, under the same rule.
pub fn load_document<T: Serialize + DeserializeOwned + Default>(file: &Path) -> Result<T, ConfigurationError> {
    let wrong = |source| ConfigurationError::Read { file: Some(file.to_owned()), source: Box::new(source) };
    let read = Config::builder().add_source(File::from(file)).build().map_err(wrong)?;
    refuse_unknown(&read.clone().try_deserialize().map_err(wrong)?, &serde_json::to_value(T::default())?)?;
    read.try_deserialize().map_err(wrong)
}

fn load_with<T: Serialize + DeserializeOwned + Default>(
    file: Option<&Path>,
    environment: Environment,
) -> Result<T, ConfigurationError> {
    let wrong = |source| ConfigurationError::Read { file: file.map(Path::to_owned), source: Box::new(source) };
    let mut builder = Config::builder();
    if let Some(file) = file {
        builder = builder.add_source(File::from(file));
    }
    let environment = environment.prefix_separator("_").separator("__").try_parsing(true);
    let read = builder.add_source(environment).build().map_err(wrong)?;
    let mut given: Value = read.clone().try_deserialize().map_err(wrong)?;
    if let Value::Object(fields) = &mut given {
        fields.retain(|key, _| !NO_KEYS.contains(&key.as_str()));
    }
    refuse_unknown(&given, &serde_json::to_value(T::default())?)?;
    read.try_deserialize().map_err(wrong)
}

/// Refuses keys that are not in `known`, a document with every key there is.
pub fn refuse_unknown(given: &Value, known: &Value) -> Result<(), UnknownKey> {
    refuse_unknown_under("", given, known)
}

fn refuse_unknown_under(path: &str, given: &Value, known: &Value) -> Result<(), UnknownKey> {
    let (Value::Object(given), Value::Object(known)) = (given, known) else { return Ok(()) };
    // An empty map in the defaults is data: its keys are the user's.
    if known.is_empty() {
        return Ok(());
    }
    for (key, value) in given {
        let Some(known) = known.get(key) else {
            let meant = nearest(key, known).map(|meant| format!("{path}{meant}"));
            return Err(UnknownKey { key: format!("{path}{key}"), meant });
        };
        refuse_unknown_under(&format!("{path}{key}."), value, known)?;
    }
    Ok(())
}

fn nearest<'a>(key: &str, known: &'a serde_json::Map<String, Value>) -> Option<&'a String> {
    let distances = known.keys().map(|known| (strsim::damerau_levenshtein(known, key), known));
    distances.filter(|(distance, known)| *distance <= 1 + known.len() / 3).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::io::Write;

    use super::*;
    use crate::labels::Labels;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Sample {
        nats: Nats,
        names: BTreeMap<String, String>,
        labels: Labels,
        limit: Option<u32>,
    }

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Sample, ConfigurationError> {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let set: HashMap<String, String> =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load_with(Some(file.path()), Environment::with_prefix(PREFIX).source(Some(set)))
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let text = "limit = 3\n[nats]\nurl = 'nats://a'\n[names]\nmine = 'x'";
        let sample = load_text(text, &[("SYNSCOPE_LIMIT", "4"), ("SYNSCOPE_CONFIG", "f"), ("OTHER", "1")]).unwrap();
        assert_eq!((sample.nats.url.as_str(), sample.limit), ("nats://a", Some(4)));
        assert_eq!(sample.names["mine"], "x");
        assert_eq!(load_text("", &[]).unwrap(), Sample::default());
        let set = load_text("", &[("SYNSCOPE_NATS__URL", "nats://b")]).unwrap();
        assert_eq!(set.nats.url, "nats://b");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
        let error = load_text("[nats]\nulr = 'x'", &[]).unwrap_err();
        assert_eq!(error.to_string(), r#"configuration key "nats.ulr" is unknown; did you mean "nats.url"?"#);
        let error = load_text("", &[("SYNSCOPE_LIMITS", "4")]).unwrap_err();
        assert_eq!(error.to_string(), r#"configuration key "limits" is unknown; did you mean "limit"?"#);
        let error = load_text("quite_other = 1", &[]).unwrap_err();
        assert_eq!(error.to_string(), r#"configuration key "quite_other" is unknown"#);
    }

    #[test]
    fn a_document_of_its_own_is_under_the_same_rule() {
        let load = |text: &str| {
            let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            load_document::<Sample>(file.path())
        };
        assert_eq!(load("[names]\n'10.0.0.1' = 'a'").unwrap().names.len(), 1);
        let error = load("[nmaes]\n'10.0.0.1' = 'a'").unwrap_err();
        assert_eq!(error.to_string(), r#"configuration key "nmaes" is unknown; did you mean "names"?"#);
    }

    #[test]
    fn labels_come_from_the_file_or_the_environment_as_they_were_written() {
        let labels = |text: &str| text.parse::<Labels>().unwrap();
        let file = "labels = { zone = 'a', rack = '007' }";
        assert_eq!(load_text(file, &[]).unwrap().labels, labels("zone=a,rack=007"));
        let given = |key, value| load_text("", &[(key, value)]).map(|sample| sample.labels);
        assert_eq!(given("SYNSCOPE_LABELS", "zone=b,rack=007").unwrap(), labels("zone=b,rack=007"));
        assert_eq!(given("SYNSCOPE_LABELS__ZONE", "b").unwrap(), labels("zone=b"));
        let error = given("SYNSCOPE_LABELS__RACK", "007").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("label \"rack\" has the value 7, which is no text"), "{source}");
    }

    #[test]
    fn a_wrong_type_names_its_place() {
        let error = load_text("limit = 'many'", &[]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("limit"), "{source}");
    }
}
