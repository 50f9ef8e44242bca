//! The containers of `compose.yaml` in an engine, and the API that they offer.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::engine::Engine;
use crate::apt::{checked, output};
use crate::cargo::root;

const API: &str = "http://127.0.0.1:8080";
/// Until a container that does not end by itself is killed.
const END_S: &str = "5";

/// A stack; taken down when dropped.
pub(crate) struct Stack<'a> {
    engine: &'a Engine,
    project: String,
    commit: String,
    client: ureq::Agent,
    interrupted: Arc<AtomicBool>,
    /// What the API wants to see; nothing until it is up.
    authorization: String,
    is_up: bool,
}

impl<'a> Stack<'a> {
    /// None yet.
    pub(crate) fn new(engine: &'a Engine, commit: &str, interrupted: Arc<AtomicBool>) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
        let client = config.http_status_as_error(false).build().into();
        let project = format!("syn-t-{}", std::process::id());
        Self {
            engine,
            project,
            commit: commit.to_owned(),
            client,
            interrupted,
            authorization: String::new(),
            is_up: false,
        }
    }

    fn compose(&self) -> Command {
        let mut command = self.engine.compose();
        // Its output is for our log, where lines that are written over are of no use.
        command.args(["--ansi=never", "--progress=quiet", "--project-name", &self.project, "--file=compose.yaml"]);
        command.arg("--file=xtask/compose/given.yaml");
        if matches!(self.engine, Engine::Own(_)) {
            command.arg("--file=xtask/compose/packaged.yaml");
        }
        for variable in ["COMPOSE_FILE", "COMPOSE_PROFILES", "SYNSCOPE_TIME_SCALE"] {
            command.env_remove(variable);
        }
        command.env("SYNSCOPE_COMMIT", &self.commit).current_dir(root());
        command
    }

    /// Builds all images.
    pub(crate) fn build(&self) -> Result<()> {
        checked(self.compose().arg("build")).context("the images do not build")
    }

    /// The services of which no lab is asked for.
    pub(crate) fn services_without_lab(&self) -> Result<String> {
        let told = said(self.compose().args(["--env-file=/dev/null", "config", "--services"]))?;
        let mut services: Vec<_> = told.split_whitespace().collect();
        services.sort_unstable();
        Ok(services.join(" "))
    }

    /// Starts all containers.
    pub(crate) fn up(&mut self) -> Result<()> {
        self.is_up = true;
        checked(self.compose().args(["up", "--detach"])).context("the containers do not start")
    }

    /// Reads the token that was made for the API.
    pub(crate) fn take_token(&mut self) -> Result<()> {
        let token = said(self.compose().args(["exec", "-T", "api", "cat", "/credentials/operator.token"]))?;
        self.authorization = format!("Bearer {}", token.trim());
        Ok(())
    }

    /// The status with which the API answers who shows no token.
    pub(crate) fn status_without_token(&self, path: &str) -> Result<u16> {
        self.engine.within(|| Ok(self.client.get(format!("{API}{path}")).call()?.status().as_u16()))
    }

    /// Restarts one.
    pub(crate) fn restart(&self, service: &str) -> Result<()> {
        checked(self.compose().args(["restart", "--timeout", END_S, service]))
    }

    /// Takes everything down; what is left of containers, networks and volumes.
    pub(crate) fn down(&mut self) -> Result<String> {
        self.is_up = false;
        checked(self.compose().args(["down", "--volumes", "--timeout", END_S]))?;
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let kinds = [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]];
        let left = kinds.map(|list| said(self.engine.docker().args(list).args(["--quiet", "--filter", &filter])));
        Ok(left.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// What the engine says of all containers, or of one service's.
    pub(crate) fn inspect(&self, services: &[&str], template: &str) -> Result<Vec<String>> {
        let ids = said(self.compose().args(["ps", "--all", "--quiet"]).args(services))?;
        let told = said(self.engine.docker().args(["inspect", "--format", template]).args(ids.split_whitespace()))?;
        Ok(told.lines().map(str::to_owned).collect())
    }

    /// What a command of Docker's prints.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<String> {
        Ok(said(self.engine.docker().args(arguments))?.trim().to_owned())
    }

    /// The last lines of all logs.
    pub(crate) fn show_logs(&self) -> Result<()> {
        checked(self.compose().args(["ps", "--all"]))?;
        checked(self.compose().args(["logs", "--no-color", "--tail=12"]))
    }

    /// Waits until `look` finds what it looks for; else says what it saw last.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<Result<T, String>>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            ensure!(!self.interrupted.load(Relaxed), "interrupted");
            let seen = match look()? {
                Ok(found) => return Ok(found),
                Err(seen) => seen,
            };
            if start.elapsed() > limit {
                bail!("{what}: not within {} s, but {seen}", limit.as_secs());
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until the health checks of these services are content.
    pub(crate) fn healthy(&self, services: &[&str], limit: Duration) -> Result<()> {
        let template = "{{.Name}} {{.State.Status}} {{.State.Health.Status}}";
        self.wait("healthy", limit, || {
            let told = self.inspect(services, template)?;
            let well = told.len() == services.len() && told.iter().all(|line| line.ends_with(" running healthy"));
            Ok(if well { Ok(()) } else { Err(told.join(", ")) })
        })
    }

    /// A document of the API; an error's status and text where it is none.
    pub(crate) fn get(&self, path: &str) -> Result<Result<Value, String>> {
        self.engine.within(|| {
            let answered = self.client.get(format!("{API}{path}")).header("authorization", &self.authorization).call();
            Ok(answered.map_err(|error| error.to_string()).and_then(document))
        })
    }

    /// What the API answers to an empty document.
    pub(crate) fn post(&self, path: &str) -> Result<Result<Value, String>> {
        self.engine.within(|| {
            let answered = self
                .client
                .post(format!("{API}{path}"))
                .header("authorization", &self.authorization)
                .send_json(serde_json::json!({}));
            Ok(answered.map_err(|error| error.to_string()).and_then(document))
        })
    }
}

/// What a command prints; what it complains of is shown.
fn said(command: &mut Command) -> Result<String> {
    output(command.stderr(Stdio::inherit()))
}

fn document(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value, String> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{status}: {text}"));
    }
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        // An engine of our own takes all of it along.
        if self.is_up && matches!(self.engine, Engine::Running) {
            match self.down() {
                Ok(left) if left.is_empty() => {}
                Ok(left) => eprintln!("of the containers something is left behind: {left}"),
                Err(error) => eprintln!("the containers are left behind: {error:#}"),
            }
        }
    }
}

/// A program's file.
pub(crate) fn file(program: &str) -> String {
    if program == "cli" { "synscope".to_owned() } else { format!("synscope-{program}") }
}

/// Gives the folder that images are made of exactly these programs, and what says how.
pub(crate) fn give(programs: &[&str], from: &Path) -> Result<()> {
    let folder = root().join("target/compose/programs");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(root().join("Dockerfile"), folder.join("Dockerfile"))?;
    for program in programs {
        let program = file(program);
        // The other name of the same file costs nothing.
        std::fs::hard_link(from.join(&program), folder.join(&program)).with_context(|| program.clone())?;
    }
    Ok(())
}
