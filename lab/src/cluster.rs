//! The programs under test, as processes: nats-server, an agent and a tracer per node, analyzer and api.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use synscope_bus::configuration::Nats;
use synscope_bus::permissions::Identity;
use synscope_bus::subject::NodeId;

use crate::netns::{self, Netns, Topology};

/// The names of the cluster's services.
const ANALYZER: &str = "analyzer-0";
const API: &str = "api";

/// Whoever connects.
fn identities() -> Result<BTreeSet<Identity>> {
    let mut identities = BTreeSet::from([
        Identity::Analyzer(NodeId::new(ANALYZER)?),
        Identity::Api(NodeId::new(API)?),
        watch()?,
        Identity::Subscriber,
    ]);
    for node in ["node-a", "node-b"] {
        identities.extend([Identity::Datapath(NodeId::new(node)?), Identity::Tracer(NodeId::new(node)?)]);
    }
    Ok(identities)
}

/// The lab itself, which hears and asks what an API does.
pub(crate) fn watch() -> Result<Identity> {
    Ok(Identity::Api(NodeId::new("lab")?))
}

/// How long a program may take to end before it is killed.
const END: Duration = Duration::from_secs(6);

/// How the tables of node a are set up, where the clients are; node b only observes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    /// Capacity of each.
    pub(crate) entries: u32,
    /// What a full one does to a new connection.
    pub(crate) on_full: OnFull,
}

/// As the datapath's configuration has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnFull {
    Drop,
    Pass,
}

/// A running program; it is ended when dropped.
#[derive(Debug)]
struct Program {
    name: String,
    log: PathBuf,
    command: Command,
    child: Child,
}

impl Program {
    fn start(name: &str, log: PathBuf, mut command: Command) -> Result<Self> {
        let child = spawn(&log, &mut command)?;
        Ok(Self { name: name.to_owned(), log, command, child })
    }

    /// Kill -9, and again from the beginning.
    fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.log, &mut self.command)?;
        Ok(())
    }
}

fn spawn(log: &Path, command: &mut Command) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| command.get_program().display().to_string())
}

impl Drop for Program {
    fn drop(&mut self) {
        let started = Instant::now();
        let told = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        while told.is_ok() && started.elapsed() < END {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} did not end by itself: killed", self.name);
        if self.child.kill().is_err() || self.child.wait().is_err() {
            eprintln!("{} is left behind", self.name);
        }
    }
}

/// All programs of one run; the server ends last.
#[derive(Debug)]
pub(crate) struct Cluster {
    programs: Vec<Program>,
    nats: Option<Program>,
    pins: Vec<PathBuf>,
    folder: tempfile::TempDir,
    bin: PathBuf,
    nats_binary: PathBuf,
    nats_port: u16,
    pub(crate) api_port: u16,
}

impl Cluster {
    /// Starts the server. `bin` holds the services; `nats_binary` is the server.
    pub(crate) fn start(bin: &Path, nats_binary: &Path) -> Result<Self> {
        let mut cluster = Self {
            programs: Vec::new(),
            nats: None,
            pins: Vec::new(),
            folder: tempfile::tempdir()?,
            bin: bin.to_owned(),
            nats_binary: nats_binary.to_owned(),
            nats_port: free_port()?,
            api_port: free_port()?,
        };
        synscope_credentials::make(&cluster.credentials(), &identities()?, &["127.0.0.1".to_owned()])?;
        cluster.start_nats()?;
        Ok(cluster)
    }

    /// Starts the services.
    pub(crate) fn start_services(&mut self, topology: &Topology, tables: Tables, time_scale: f64) -> Result<()> {
        let a = Agent {
            node: "node-a",
            netns: &topology.node_a,
            pods: &[&topology.order, &topology.batch],
            entries: tables.entries,
            mode: match tables.on_full {
                OnFull::Drop => "mode = 'enforce'\non_full = 'drop'",
                OnFull::Pass => "mode = 'enforce'\non_full = 'pass'",
            },
        };
        let workloads_a = format!("\"{}\" = \"shop/order\"\n\"{}\" = \"shop/batch\"\n", netns::ORDER, netns::BATCH);
        self.start_agent(&a, &workloads_a, time_scale)?;
        let b = Agent {
            node: "node-b",
            netns: &topology.node_b,
            pods: &[&topology.inventory, &topology.sink],
            entries: 262_144,
            mode: "mode = 'observe'",
        };
        let workloads_b =
            format!("\"{}\" = \"shop/inventory\"\n\"{}\" = \"shop/sink\"\n", netns::INVENTORY, netns::SINK);
        self.start_agent(&b, &workloads_b, time_scale)?;
        for (node, name) in [("node-a", "tracer-a"), ("node-b", "tracer-b")] {
            self.start_service(&Identity::Tracer(NodeId::new(node)?), name, "")?;
        }
        let analyzer = Identity::Analyzer(NodeId::new(ANALYZER)?);
        self.start_service(&analyzer, "analyzer", &format!("time_scale = {time_scale:.1}\n"))?;
        let listen = format!("listen = '127.0.0.1:{}'\n", self.api_port);
        self.start_service(&Identity::Api(NodeId::new(API)?), "api", &listen)
    }

    /// How NATS is reached.
    pub(crate) fn nats(&self) -> Nats {
        Nats { url: format!("tls://127.0.0.1:{}", self.nats_port), credentials: Some(self.credentials()) }
    }

    /// What NATS refused, in its own words. Nodes try to make buckets before they find them made, which is refused, too.
    pub(crate) fn refused(&self) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.folder.path().join("nats-server.log"))?;
        let is_unforeseen = |line: &&str| line.contains("Violation") && !line.contains("\"$JS.API.INFO\"");
        Ok(log.lines().filter(is_unforeseen).map(str::to_owned).collect())
    }

    /// Files, of those that programs wrote their logs to, in which somebody's key or a part of one is.
    pub(crate) fn logs_with_secrets(&self) -> Result<Vec<String>> {
        let files = |folder: &Path, ending: &str| -> Result<Vec<PathBuf>> {
            let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|found| found == ending)).collect())
        };
        let seeds = files(&self.credentials(), "nk")?.iter().map(fs::read_to_string).collect::<io::Result<Vec<_>>>()?;
        ensure!(!seeds.is_empty(), "there are no keys to look for");
        // What all seeds begin with is no secret; ten characters of the rest are nobody else's.
        let secrets: Vec<&str> = seeds.iter().filter_map(|seed| seed.trim().get(4..14)).collect();
        let mut found = Vec::new();
        for log in files(self.folder.path(), "log")? {
            let text = fs::read_to_string(&log)?;
            if secrets.iter().any(|secret| text.contains(secret)) {
                found.push(log.display().to_string());
            }
        }
        Ok(found)
    }

    /// The capabilities that a program has by now, in hexadecimal (`proc_pid_status(5)`).
    pub(crate) fn capabilities(&self, name: &str) -> Result<String> {
        let program = self.programs.iter().find(|program| program.name == name);
        let id = program.with_context(|| format!("no program is called {name}"))?.child.id();
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let held = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
        Ok(held.context("the kernel tells no capabilities")?.trim().to_owned())
    }

    /// The folder of everybody's keys.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    /// Where the services' logs are.
    pub(crate) fn logs(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps logs and store when the run is over.
    pub(crate) fn keep_logs(&mut self) {
        self.folder.disable_cleanup(true);
    }

    fn start_nats(&mut self) -> Result<()> {
        let file = self.folder.path().join("nats-server.conf");
        // Streams reserve their bounds, which are far more than a run writes; left alone, the server has three quarters of
        // what the disk has left, and on a full one it refuses them.
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: '{}', max_file_store: 64GB }}\ninclude 'credentials/{}'\n",
            self.nats_port,
            self.folder.path().join("nats").display(),
            synscope_credentials::SERVER,
        );
        fs::write(&file, text)?;
        self.nats = Some(self.run("nats-server", &self.nats_binary, &file)?);
        Ok(())
    }

    fn start_agent(&mut self, agent: &Agent<'_>, workloads: &str, time_scale: f64) -> Result<()> {
        let Agent { node, netns, pods, entries, mode } = *agent;
        let endpoints = self.folder.path().join(format!("{node}-endpoints.toml"));
        fs::write(&endpoints, format!("[workloads]\n{workloads}"))?;
        let pins = netns::pins(node);
        let watched: Vec<_> = pods.iter().map(|pod| format!("'{}'", pod.path().display())).collect();
        let text = format!(
            "pins = '{}'\nnetns = '{}'\nwatched_netns = [{}]\ninterfaces = ['pod-*', 'eth0']\n{mode}\n\
             conntrack_entries = {entries}\nsweep_ms = 200\nsignals_ms = 500\ntime_scale = {time_scale:.1}\nendpoints = '{}'\n\
             [timeouts]\nclosed = 1\nclosing = 2\nother = 5\n",
            pins.display(),
            netns.path().display(),
            watched.join(", "),
            endpoints.display(),
        );
        self.pins.push(pins);
        self.start_service(&Identity::Datapath(NodeId::new(node)?), node, &text)
    }

    fn start_service(&mut self, identity: &Identity, name: &str, configuration: &str) -> Result<()> {
        let (service, node) = identity.service().context("an outsider is no service")?;
        let file = self.folder.path().join(format!("{name}.toml"));
        let text = format!(
            "node = '{node}'\n{configuration}[nats]\nurl = '{}'\ncredentials = '{}'\n[log]\nfilter = 'debug'\n",
            self.nats().url,
            self.credentials().display(),
        );
        fs::write(&file, text)?;
        let program = self.run(name, &self.bin.join(format!("synscope-{service}")), &file)?;
        self.programs.push(program);
        Ok(())
    }

    fn run(&self, name: &str, program: &Path, configuration: &Path) -> Result<Program> {
        ensure!(program.exists(), "cannot start {}: it is not there", program.display());
        // A lab that is killed with -9 takes its programs with it; the next one removes the namespaces.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("--config").arg(configuration);
        Program::start(name, self.folder.path().join(format!("{name}.log")), command)
    }

    /// Kills a program with -9 and starts it again.
    pub(crate) fn kill_and_restart(&mut self, name: &str) -> Result<()> {
        let program = self.programs.iter_mut().chain(&mut self.nats).find(|program| program.name == name);
        program.with_context(|| format!("no program is called {name}"))?.kill_and_restart()
    }

    /// Says which program has ended, if one has.
    pub(crate) fn check(&mut self) -> Result<()> {
        for program in self.programs.iter_mut().chain(&mut self.nats) {
            if let Some(status) = program.child.try_wait()? {
                let log = fs::read_to_string(&program.log)?;
                let last: Vec<_> = log.lines().rev().take(12).collect();
                let last: Vec<_> = last.into_iter().rev().collect();
                bail!("{} ended with {status}; its last words:\n{}", program.name, last.join("\n"));
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.programs.clear();
        self.nats = None;
        for pins in &self.pins {
            match fs::remove_dir_all(pins) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    eprintln!("{} is left behind: {error}", pins.display());
                }
                _ => {}
            }
        }
    }
}

struct Agent<'a> {
    node: &'a str,
    netns: &'a Netns,
    pods: &'a [&'a Netns],
    entries: u32,
    mode: &'static str,
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
