//! The least that events through NATS can cost: payloads of 64 KiB with nothing in them, and a subscriber that only counts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::timeout;

use crate::samples::number;
use crate::server::Server;

const PAYLOAD: Bytes = Bytes::from_static(&[0; 64 << 10]);
const SUBJECT: &str = "bench.raw";
/// So long without a message, and there is none any more.
const SILENCE: Duration = Duration::from_secs(1);

/// Payload that arrives per second, of as much as can be published.
pub(crate) fn bytes_per_second(length: Duration) -> Result<f64> {
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&server.url, length))
}

async fn measure(url: &str, length: Duration) -> Result<f64> {
    let connect = || async_nats::ConnectOptions::new().retry_on_initial_connect().connect(url);
    let (publisher, reader) = (connect().await?, connect().await?);
    let mut messages = reader.subscribe(SUBJECT).await?;
    // An answer to what was asked after it: the server has the subscription.
    async_nats::jetstream::new(reader.clone()).query_account().await.context("nats-server does not come up")?;
    let start = Instant::now();
    let reading = tokio::spawn(async move {
        let (mut read, mut last) = (0, start);
        while let Ok(Some(message)) = timeout(SILENCE, messages.next()).await {
            read += message.payload.len() as u64;
            last = Instant::now();
        }
        (read, last)
    });
    while start.elapsed() < length {
        #[expect(clippy::disallowed_methods, reason = "what NATS takes without an outbox is measured")]
        publisher.publish(SUBJECT, PAYLOAD).await?;
    }
    publisher.flush().await?;
    let (read, last) = reading.await?;
    ensure!(read > 0, "nothing that was published arrived");
    Ok(number(read) / last.duration_since(start).as_secs_f64())
}
