//! Keys, certificates and nats-server's configuration for a fleet: what each program may say and hear is the bus's to tell.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod certificate;
mod server;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nkeys::KeyPair;
use synscope_bus::permissions::{AUTHORITY, Identity, key_file};

/// The server's certificate.
pub const CERTIFICATE: &str = "server.crt";
/// The server's key.
pub const KEY: &str = "server.key";
/// The server's configuration of users and TLS, to be included in its own.
pub const SERVER: &str = "synscope.conf";

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be written.
    #[error("{}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file is there that would be overwritten.
    #[error("{} is there already: credentials that are in use are not replaced", .0.display())]
    There(PathBuf),
    /// No certificate could be made.
    #[error("the certificate")]
    Certificate(#[from] rcgen::Error),
    /// No key could be made.
    #[error("a key")]
    Key(#[from] nkeys::error::Error),
}

/// Whether a folder has credentials: all were made, as the server's configuration is written last.
pub fn is_made(folder: &Path) -> bool {
    folder.join(SERVER).exists()
}

/// Makes a folder of credentials: a secret key for each identity, a certificate of an authority of its own for a server of
/// these names or addresses, and the server's configuration. Its owner's group may read them. The authority's key is forgotten: it signs nothing else.
pub fn make(folder: &Path, identities: &BTreeSet<Identity>, hosts: &[String]) -> Result<(), CredentialsError> {
    let wrong = |file: &Path| {
        let file = file.to_owned();
        move |source| CredentialsError::Write { file, source }
    };
    DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(wrong(folder))?;
    let folder = fs::canonicalize(folder).map_err(wrong(folder))?;
    let made = certificate::make(hosts)?;
    write_new(&folder.join(AUTHORITY), &made.authority)?;
    write_new(&folder.join(CERTIFICATE), &made.certificate)?;
    write_new(&folder.join(KEY), &made.key)?;
    let mut users = Vec::new();
    for identity in identities {
        let pair = KeyPair::new_user();
        write_new(&key_file(&folder, &identity.to_string()), &pair.seed()?)?;
        users.push((identity, pair.public_key()));
    }
    write_new(&folder.join(SERVER), &server::configuration(&folder, &users))
}

fn write_new(file: &Path, text: &str) -> Result<(), CredentialsError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o640).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CredentialsError::There(file.to_owned()),
        _ => CredentialsError::Write { file: file.to_owned(), source },
    })
}
