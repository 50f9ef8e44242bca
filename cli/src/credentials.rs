//! `synscope credentials`: keys and certificates for a fleet.

use std::collections::BTreeSet;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use synscope_bus::configuration::node_id;
use synscope_bus::permissions::{AUTHORITY, Identity, key_file};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Folder that they are written to.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Leaves the folder alone if it has credentials.
    #[arg(long)]
    keep: bool,
    /// A node with a datapath and perhaps a tracer; may be given again; an empty name is this
    /// machine's.
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// An instance of the analyzer; may be given again.
    #[arg(long = "analyzer", value_name = "NAME", default_value = "analyzer-0")]
    analyzers: Vec<String>,
    /// An instance of the API; may be given again.
    #[arg(long = "api", value_name = "NAME", default_value = "api")]
    apis: Vec<String>,
    /// A name or an address that nats-server is reached by; may be given again.
    #[arg(long = "host", value_name = "HOST", default_value = "127.0.0.1")]
    hosts: Vec<String>,
}

/// Makes them, and says what goes where.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Options { out, keep, nodes, analyzers, apis, hosts } = options;
    if *keep && synscope_credentials::is_made(out) {
        return Ok(ExitCode::SUCCESS);
    }
    let name = |name: &String| node_id(name).with_context(|| format!("{name:?} is no name"));
    let mut identities = BTreeSet::from([Identity::Subscriber]);
    for node in nodes {
        identities.extend([Identity::Datapath(name(node)?), Identity::Tracer(name(node)?)]);
    }
    for analyzer in analyzers {
        identities.insert(Identity::Analyzer(name(analyzer)?));
    }
    for api in apis {
        identities.insert(Identity::Api(name(api)?));
    }
    synscope_credentials::make(out, &identities, hosts)?;
    let mut told = stdout().lock();
    let file = |name: &str| out.join(name).display().to_string();
    writeln!(told, "{}  for nats-server: to be included in its configuration", file(synscope_credentials::SERVER))?;
    writeln!(told, "{}  for everyone", file(AUTHORITY))?;
    for identity in &identities {
        let key = key_file(out, &identity.to_string());
        writeln!(told, "{}  for {identity} alone", key.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
