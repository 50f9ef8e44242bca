//! Loads and attaches in a network namespace, says `ready`, and stays until it is killed or its input ends.
//!
//! `hold NETNS INTERFACE PINS`: the tests kill it with -9 to show what outlives it.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use synscope_datapath::attach::{self, Hook};
use synscope_datapath::kernel::{Kernel, Options};
use synscope_datapath::netlink::links;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [netns, interface, pins] = arguments.as_slice() else {
        anyhow::bail!("usage: hold NETNS INTERFACE PINS");
    };
    let handle = std::fs::File::open(format!("/run/netns/{netns}")).context("no such network namespace")?;
    nix::sched::setns(handle, nix::sched::CloneFlags::CLONE_NEWNET)?;
    let pins = Path::new(pins);
    let mut kernel = Kernel::load(&Options { pins: Some(pins), ..Options::default() })?;
    let interface = links::named(interface)?;
    let _ingress = attach::first(&mut kernel, &interface, Hook::Ingress, Some(pins))?;
    let _egress = attach::first(&mut kernel, &interface, Hook::Egress, Some(pins))?;
    std::io::stdout().write_all(b"ready\n")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
