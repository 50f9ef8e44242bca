//! The tokens that may be shown. Their file has hashes only: who reads it cannot show one.
//!
//! A token is 256 bits by chance, so one round of SHA-256 hides it; what protects words that people choose is not needed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Role;

/// What every token begins with, so that one is known where it should not be.
const PREFIX: &str = "syn_";
/// Bytes by chance.
const LENGTH: usize = 32;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("tokens {}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: Box<config::ConfigError>,
    },
    /// A hash is none.
    #[error("tokens {}: {name:?} has a `sha256` that is not 64 digits of hexadecimal", .file.display())]
    Hash {
        /// The file.
        file: PathBuf,
        /// The token's name.
        name: String,
    },
    /// Two names for one token: whose it is could not be told.
    #[error("tokens {}: {one:?} and {other:?} are the same token", .file.display())]
    Twice {
        /// The file.
        file: PathBuf,
        /// A name.
        one: String,
        /// Another.
        other: String,
    },
}

/// One token, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    sha256: String,
    roles: Vec<Role>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: HashMap<String, Written>,
}

/// Names and roles by the token's hash.
#[derive(Debug)]
pub struct Tokens(HashMap<String, (String, Vec<Role>)>);

impl Tokens {
    /// Reads a file of `[tokens.NAME]` with `sha256` and `roles`.
    pub fn read(file: &Path) -> Result<Self, TokensError> {
        let wrong = |source| TokensError::Read { file: file.to_owned(), source: Box::new(source) };
        let read = config::Config::builder().add_source(config::File::from(file)).build().map_err(wrong)?;
        let read: File = read.try_deserialize().map_err(wrong)?;
        let mut tokens: HashMap<String, (String, Vec<Role>)> = HashMap::new();
        for (name, Written { sha256, roles }) in read.tokens {
            if sha256.len() != 2 * LENGTH || !sha256.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(TokensError::Hash { file: file.to_owned(), name });
            }
            if let Some((other, _)) = tokens.insert(sha256.to_ascii_lowercase(), (name.clone(), roles)) {
                return Err(TokensError::Twice { file: file.to_owned(), one: name, other });
            }
        }
        Ok(Self(tokens))
    }

    /// The name and the roles of a token; none when nobody knows it. What is looked up is the hash, so that how long it takes
    /// tells nothing of a token.
    pub(super) fn find(&self, token: &str) -> Option<(&str, &[Role])> {
        self.0.get(&hash(token)).map(|(name, roles)| (name.as_str(), roles.as_slice()))
    }
}

/// A new token, and what to add to the file of tokens.
pub fn make(name: &str, roles: &[Role]) -> Result<(String, String), getrandom::Error> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)?;
    let token = format!("{PREFIX}{}", hexadecimal(&bytes));
    let roles: Vec<String> = roles.iter().map(|role| format!("{:?}", role_name(*role))).collect();
    let entry = format!("[tokens.{name:?}]\nsha256 = {:?}\nroles = [{}]\n", hash(&token), roles.join(", "));
    Ok((token, entry))
}

/// Writes a new token and a file of tokens that has it alone into a folder; where the token is there, nothing is changed.
pub fn write(folder: &Path, name: &str, roles: &[Role]) -> io::Result<()> {
    let file = folder.join(format!("{name}.token"));
    if file.exists() {
        return Ok(());
    }
    let (token, entry) = make(name, roles).map_err(io::Error::other)?;
    let create = |path: &Path, text: &str| {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
        let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
        written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    create(&folder.join("tokens.toml"), &entry)?;
    create(&file, &token)
}

fn role_name(role: Role) -> String {
    // Every role has a name: the one that it is written with.
    clap::ValueEnum::to_possible_value(&role).map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn hash(token: &str) -> String {
    hexadecimal(&Sha256::digest(token.as_bytes()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _always = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tokens, String> {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Tokens::read(file.path()).map_err(|error| synscope_bus::reasons::reasons(&error))
    }

    #[test]
    fn a_token_that_was_made_is_known() {
        let (token, entry) = make("alice", &[Role::Viewer, Role::TracerScript]).unwrap();
        assert!(token.starts_with("syn_") && token.len() == 68 && !entry.contains(&token), "{token} {entry}");
        let tokens = read(&entry).unwrap();
        assert_eq!(tokens.find(&token), Some(("alice", &[Role::Viewer, Role::TracerScript][..])));
        assert_eq!(tokens.find("syn_"), None);
        assert_ne!(make("alice", &[]).unwrap().0, token);
    }

    #[test]
    fn a_token_is_written_once_and_what_is_in_its_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alice.token");
        write(folder.path(), "alice", &[Role::Viewer]).unwrap();
        let token = std::fs::read_to_string(&file).unwrap();
        write(folder.path(), "alice", &[Role::Operator]).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
        let tokens = Tokens::read(&folder.path().join("tokens.toml")).unwrap();
        assert_eq!(tokens.find(&token), Some(("alice", &[Role::Viewer][..])));
        let refused = write(folder.path(), "bob", &[Role::Viewer]).unwrap_err().to_string();
        assert!(refused.contains("tokens.toml: File exists"), "{refused}");
    }

    #[test]
    fn a_file_that_is_wrong_says_where() {
        let digits = "0".repeat(64);
        let one = |name: &str| format!("[tokens.{name}]\nsha256 = '{digits}'\nroles = ['viewer']\n");
        assert!(read(&one("a")).is_ok());
        let twice = read(&(one("a") + &one("b"))).unwrap_err();
        assert!(twice.ends_with("are the same token"), "{twice}");
        let short = read("[tokens.a]\nsha256 = '00'\nroles = []").unwrap_err();
        assert!(short.ends_with("\"a\" has a `sha256` that is not 64 digits of hexadecimal"), "{short}");
        let role = read(&one("a").replace("viewer", "admin")).unwrap_err();
        assert!(role.contains("admin") && role.contains("tokens.a.roles[0]"), "{role}");
        let key = read(&one("a").replace("roles", "role")).unwrap_err();
        assert!(key.contains("role"), "{key}");
    }
}
