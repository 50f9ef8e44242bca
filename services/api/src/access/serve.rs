//! Speaking HTTP, over TLS where there is a certificate.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use serde::{Deserialize, Serialize};
use synscope_bus::life::{DRAIN, Life};

/// Between two looks whether there is a new certificate.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A certificate and its key, both PEM. New ones in their place are used without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// File of the certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// File of its key.
    pub key: PathBuf,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate or its key cannot be used.
    #[error("configuration key \"tls\": certificate {} with key {}", .tls.certificate.display(), .tls.key.display())]
    Tls {
        /// Where they are.
        tls: Tls,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The socket fails.
    #[error("HTTP")]
    Http(#[from] std::io::Error),
}

/// Serves until the life ends; what is asked then has [`DRAIN`] to be answered.
pub async fn serve(router: Router, listener: TcpListener, tls: Option<Tls>, life: &Life) -> Result<(), ServeError> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    let (ending, ended) = (handle.clone(), life.clone());
    let stopping = tokio::spawn(async move {
        ended.stopped().await;
        ending.graceful_shutdown(Some(DRAIN));
    });
    let served = match tls {
        None => axum_server::from_tcp(listener)?.handle(handle).serve(service).await,
        Some(tls) => {
            let config = configure(&tls).await?;
            let following = tokio::spawn(follow(tls, config.clone()));
            let served = axum_server::from_tcp_rustls(listener, config)?.handle(handle).serve(service).await;
            following.abort();
            served
        }
    };
    stopping.abort();
    Ok(served?)
}

async fn configure(tls: &Tls) -> Result<RustlsConfig, ServeError> {
    // Another part of the process may have chosen already, and the same.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let config = RustlsConfig::from_pem_file(&tls.certificate, &tls.key).await;
    config.map_err(|source| ServeError::Tls { tls: tls.clone(), source })
}

/// Takes a new certificate when one is there.
async fn follow(tls: Tls, config: RustlsConfig) {
    let written = || [written(&tls.certificate), written(&tls.key)];
    let mut used = written();
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let found = written();
        if found == used {
            continue;
        }
        match config.reload_from_pem_file(&tls.certificate, &tls.key).await {
            Ok(()) => {
                tracing::info!(certificate = %tls.certificate.display(), "a new certificate is used");
                used = found;
            }
            // It may be written just now.
            Err(error) => tracing::warn!(%error, "a new certificate cannot be used; the old one still is"),
        }
    }
}

fn written(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|about| about.modified()).ok()
}
