//! A Docker engine for one test. Its network, its mounts and its processes are namespaces of its own: they end with it,
//! however it ends, and what it does to forwarding and firewall rules is done there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fetch;
use crate::apt::checked;
use crate::cargo::root;
use crate::leftovers;

/// It is up in less than a second.
const UP: Duration = Duration::from_secs(30);
/// `/run` is its own, too: it and containerd leave sockets there.
const START: &str = r#"mount -t tmpfs tmpfs /run && exec dockerd "$@""#;

/// The one that is used; one of our own ends when dropped.
#[derive(Debug)]
pub(crate) enum Engine {
    /// The machine's, which runs already.
    Running,
    /// Started for this.
    Own(Own),
}

/// An engine of our own.
#[derive(Debug)]
pub(crate) struct Own {
    /// Of its network namespace, its cgroups and its folder.
    name: String,
    folder: PathBuf,
    programs: PathBuf,
    child: Option<Child>,
}

impl Engine {
    /// Starts one.
    pub(crate) fn start() -> Result<Self> {
        let programs = fetch::engine()?;
        let base = fetch::base()?;
        let name = format!("syn-t-{}-compose", std::process::id());
        let folder = root().join("target/compose").join(&name);
        fs::create_dir_all(&folder)?;
        let mut own = Own { name, folder: folder.canonicalize()?, programs, child: None };
        own.start()?;
        let engine = Self::Own(own);
        let mut import = engine.docker();
        import.args(["import", "--change", r#"CMD ["bash"]"#]).arg(base).arg("debian:bookworm-slim");
        checked(&mut import).context("the base image")?;
        Ok(engine)
    }

    /// The `docker` command.
    pub(crate) fn docker(&self) -> Command {
        match self {
            Self::Running => Command::new("docker"),
            Self::Own(own) => own.command("docker"),
        }
    }

    /// The `docker compose` command.
    pub(crate) fn compose(&self) -> Command {
        match self {
            Self::Running => {
                let mut command = Command::new("docker");
                command.arg("compose");
                command
            }
            Self::Own(own) => own.command("docker-compose"),
        }
    }

    /// Does something where the engine's ports are.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Self::Own(own) = self else { return work() };
        let netns = Path::new("/run/netns").join(&own.name);
        let inside = || {
            setns(File::open(&netns)?, CloneFlags::CLONE_NEWNET).with_context(|| netns.display().to_string())?;
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).map_err(|_panic| anyhow!("a thread panicked"))?
    }
}

impl Own {
    fn start(&mut self) -> Result<()> {
        checked(Command::new("ip").args(["netns", "add", &self.name]))?;
        checked(Command::new("ip").args(["-n", &self.name, "link", "set", "lo", "up"]))?;
        let log = self.folder.join("dockerd.log");
        let to = File::create(&log)?;
        // If we are killed, all of it is, containers among them.
        let mut command = self.command("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", &format!("--net=/run/netns/{}", self.name)]);
        command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", START, "sh", "--data-root"]).arg(self.folder.join("data"));
        command.args(["--host", &self.socket(), "--cgroup-parent", &format!("/{}", self.name)]);
        self.child = Some(command.stdin(Stdio::null()).stdout(to.try_clone()?).stderr(to).spawn()?);
        let start = Instant::now();
        while !self.command("docker").arg("version").output()?.status.success() {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some()));
            if ended || start.elapsed() > UP {
                let text = fs::read_to_string(&log)?;
                let last: Vec<_> = text.lines().rev().take(8).collect();
                bail!("the Docker engine does not start:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }

    /// One that finds the engine's programs and the engine, and nothing of the user's.
    fn command(&self, program: &str) -> Command {
        let own = ["usr/sbin", "usr/bin"].map(|folder| self.programs.join(folder));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path))).unwrap_or(path);
        // `Command` looks programs up in the PATH that it is given.
        let mut command = Command::new(program);
        command.env("PATH", path).env("DOCKER_HOST", self.socket()).env("DOCKER_CONFIG", &self.folder);
        command.env_remove("DOCKER_CONTEXT");
        command
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            // Its child is the first process of its namespace, which ends when all others there have, and it after that.
            let id = child.id();
            let first = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            match first.split_whitespace().next().and_then(|first| first.parse().ok()) {
                Some(first) => kill(Pid::from_raw(first), Signal::SIGKILL)?,
                None => child.kill()?,
            }
            child.wait()?;
        }
        leftovers::remove_of(&self.name)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("of the Docker engine something is left behind: {error:#}");
        }
    }
}
