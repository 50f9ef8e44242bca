//! What `--keep` offers when the play is over.

use std::io::{self, BufRead};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use synscope_bus::permissions::{AUTHORITY, Identity, key_file};

use crate::cluster::Cluster;
use crate::report::say;
use crate::stage::Stage;

/// Between two looks at whether it was interrupted, ms.
const LOOK_MS: u16 = 200;

/// Says what there is to see, and returns when Enter was pressed or a signal came. An input that has ended, as under a
/// test runner, presses nothing.
pub(crate) fn until_told(stage: &Stage, interrupted: &AtomicBool) -> Result<()> {
    let api = &stage.api.base;
    say(&format!("everything keeps running, and order keeps asking: the API is at {api}"));
    for next in [
        format!("look       {api}/  (the page)  {api}/docs  (every route)"),
        format!("ask        curl {api}/v1/incidents"),
        format!("listen     curl -N {api}/v1/events/stream"),
        format!("subscribe  {}", subscribe(&stage.cluster)),
        format!("go inside  nsenter --net={} bash", stage.order().display()),
        format!("read       the services' logs in {}", stage.cluster.logs().display()),
    ] {
        eprintln!("  {next}");
    }
    say("Enter or Ctrl-C ends it");
    let mut ended = false;
    while !interrupted.load(Relaxed) {
        if ended {
            std::thread::sleep(Duration::from_millis(LOOK_MS.into()));
        } else if key_waits()? {
            ended = io::stdin().lock().read_line(&mut String::new()).context("reading the input")? == 0;
            if !ended {
                break;
            }
        }
    }
    Ok(())
}

/// How an outsider listens with NATS' own client.
fn subscribe(cluster: &Cluster) -> String {
    let folder = cluster.credentials();
    let (key, authority) = (key_file(&folder, &Identity::Subscriber.to_string()), folder.join(AUTHORITY));
    let (url, key, authority) = (cluster.nats().url, key.display(), authority.display());
    format!("nats --server {url} --nkey {key} --tlsca {authority} sub 'synscope.flow.*'")
}

fn key_waits() -> Result<bool> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::from(LOOK_MS)) {
        Ok(ready) => Ok(ready > 0),
        // A signal came, which the caller looks at.
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error).context("waiting for input"),
    }
}
