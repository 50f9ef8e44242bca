//! The connection to NATS: it may come late, go, and come back.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use crate::configuration::Nats;
use crate::permissions;
use crate::streams::SERVER_MIN;

/// Longest wait between two attempts to reach the server.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Others can reach the server, and anyone could speak for us.
    #[error(
        "NATS at {url:?} is not on this machine: configuration key \"nats.credentials\" is needed, a folder that \
         `synscope credentials` makes"
    )]
    Open {
        /// The address.
        url: String,
    },
    /// The file of the secret key cannot be read.
    #[error("configuration key \"nats.credentials\": {}", .file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The address or the credentials can't be used; an unreachable server is no error.
    #[error("cannot use NATS at {url:?}")]
    Unusable {
        /// The address.
        url: String,
        /// What was wrong.
        source: async_nats::ConnectError,
    },
}

/// A client, and whether a server is there just now.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Client,
    connected: watch::Receiver<bool>,
}

impl Connection {
    /// Begins to connect and returns at once, whether a server is there or not.
    pub async fn start(nats: impl Into<Nats>, name: &str) -> Result<Self, ConnectionError> {
        let Nats { url, credentials } = nats.into();
        if credentials.is_none() && !is_guarded(&url) {
            return Err(ConnectionError::Open { url });
        }
        let (tell, connected) = watch::channel(false);
        let mut options = ConnectOptions::new();
        if let Some(folder) = credentials {
            let file = permissions::key_file(&folder, name);
            let seed = fs::read_to_string(&file).map_err(|source| ConnectionError::Key { file, source })?;
            options = options.nkey(seed.trim().to_owned());
            options = options.add_root_certificates(folder.join(permissions::AUTHORITY)).require_tls(true);
        }
        let client = options
            .name(name)
            // Nobody else may listen there: see `permissions`.
            .custom_inbox_prefix(permissions::inbox(name))
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempts| {
                let doubled = Duration::from_millis(50).saturating_mul(1 << attempts.min(6));
                doubled.min(RECONNECT_DELAY_MAX)
            })
            .event_callback(move |event| {
                match event {
                    Event::Connected => {
                        tracing::info!("NATS is there");
                        tell.send_replace(true);
                    }
                    Event::Disconnected | Event::Closed => {
                        tracing::warn!("NATS is gone; messages wait within their bounds");
                        tell.send_replace(false);
                    }
                    // Each failed attempt to come back is one.
                    Event::ClientError(error) => tracing::debug!(%error, "nats"),
                    other => tracing::warn!(event = %other, "nats"),
                }
                async {}
            })
            .connect(&url)
            .await
            .map_err(|source| ConnectionError::Unusable { url, source })?;
        Ok(Self { client, connected })
    }

    /// The client, for subscribing and requests.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether a server is there just now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Which connection to which server this is: it changes with each reconnect.
    #[must_use]
    pub fn life(&self) -> (String, u64) {
        let info = self.client.server_info();
        (info.server_id, info.client_id)
    }

    /// Why the server that is there just now is none for us; none when it is.
    #[must_use]
    pub fn too_old(&self) -> Option<String> {
        let version = self.is_connected().then(|| self.client.server_info().version)?;
        let (major, minor) = SERVER_MIN;
        match parse(&version) {
            Some(found) if found >= SERVER_MIN => None,
            _ => Some(format!("its version is {version}, {major}.{minor} is needed: nothing may be stored")),
        }
    }

    /// Returns when a server is there, or never if the client was closed.
    pub async fn connected(&self) {
        let mut connected = self.connected.clone();
        if connected.wait_for(|connected| *connected).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether only this machine can reach the server, or its address says who we are. What is no address is told when it is
/// connected to.
fn is_guarded(url: &str) -> bool {
    let Ok(address) = url.parse::<ServerAddr>() else { return true };
    let host = address.host().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_local || address.has_user_pass() || address.username().is_some()
}

/// Major and minor number of a version such as `2.10.29-RC.1`.
fn parse(version: &str) -> Option<(i64, i64)> {
    let mut numbers = version.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_only_a_server_on_this_machine_is_connected_to() {
        for own in
            ["nats://127.0.0.1:4222", "localhost", "nats://[::1]:4222", "tls://127.9.9.9", "nats://a:b@nats:4222"]
        {
            assert!(is_guarded(own), "{own}");
        }
        for other in ["nats://nats:4222", "10.0.0.1", "tls://nats.example", "nats://[fe80::1]:4222"] {
            assert!(!is_guarded(other), "{other}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(parse("2.9.10").unwrap() < SERVER_MIN);
        assert!(parse("2.10.0-RC.1").unwrap() >= SERVER_MIN);
        assert_eq!(parse("3.0"), Some((3, 0)));
        assert_eq!(parse(""), None);
    }
}
