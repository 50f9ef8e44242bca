//! The lab in containers, as `docker compose up` starts it: images are built, the incident must be found, fixed and
//! verified, and survive a restart of each service; then nothing may be left.

mod engine;
mod fetch;
mod report;
mod stack;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::engine::Engine;
use self::report::Report;
use self::stack::Stack;
use crate::apt::output;
use crate::cargo::{cargo, root};
use crate::leftovers;

/// The programs that images are made of, an image for each; the services first.
const PROGRAMS: [&str; 6] = ["datapath", "tracer", "analyzer", "api", "cli", "lab"];
/// Those that nothing of the kernel's is asked of.
const UNPRIVILEGED: [&str; 4] = ["analyzer", "api", "cli", "lab"];
/// What has a health check; restarted in this order.
const SERVICES: [&str; 7] = ["nats", "datapath-a", "datapath-b", "tracer-a", "tracer-b", "analyzer", "api"];
/// What `docker compose --env-file /dev/null up` starts.
const ALONE: &str = "analyzer api credentials datapath nats tokens tracer";
/// Whose health the API tells: each service's on each node.
const HEALTHS: usize = 6;
/// Whose connections suffer.
const EDGE: &str = "shop/order->shop/inventory:80";
const HEALTHY: Duration = Duration::from_mins(1);
/// Three bursts, 20 s apart, tell that something recurs.
const FOUND: Duration = Duration::from_mins(3);
/// Two bursts without a spike.
const VERIFIED: Duration = Duration::from_mins(2);
/// All of it, once the programs are built and the engine's packages are there.
const LIMIT: Duration = Duration::from_mins(8);
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// 0 when everything was as it must be, 1 when something was not.
pub(crate) fn run(json: bool, running_engine: bool) -> Result<u8> {
    ensure!(nix::unistd::geteuid().is_root(), "must run as root: containers load kernel programs");
    leftovers::remove()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let commit = build()?;
    if !running_engine {
        fetch::engine()?;
        fetch::base()?;
    }
    let before = surroundings()?;
    let mut report = Report::new(&commit);
    let played = play(running_engine, &commit, interrupted, &mut report);
    let end = played.map_or_else(|error| format!("{error:#}"), |()| "yes".to_owned());
    report.equal("the test comes to its end", "yes", &end);
    report.part("taking it down");
    report.equal("namespaces, mounts, pins, cgroups, forwarding of the machine", &before, &surroundings()?);
    let total = report.total();
    report.check("in time", total <= LIMIT, &format!("{} s", LIMIT.as_secs()), &format!("{} s", total.as_secs()));
    report.print(json)?;
    Ok(u8::from(!report.passed()))
}

/// Builds the programs, with the commit that is checked out; gives it.
fn build() -> Result<String> {
    let commit = output(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()));
    let commit = commit.map_or_else(|_no_git| "unknown".to_owned(), |commit| commit.trim().to_owned());
    let packages = PROGRAMS.map(|name| format!("--package=synscope-{name}"));
    let built = cargo(&["build", "--locked", "--bins"]).args(packages).env("SYNSCOPE_COMMIT", &commit).status();
    ensure!(built.context("cannot run cargo")?.success(), "the programs do not build");
    stack::give(&PROGRAMS, &root().join("target/debug"))?;
    Ok(commit)
}

fn play(running_engine: bool, commit: &str, interrupted: Arc<AtomicBool>, report: &mut Report) -> Result<()> {
    let engine = if running_engine { Engine::Running } else { Engine::start()? };
    report.part("starting the engine");
    let mut stack = Stack::new(&engine, commit, interrupted);
    stack.build()?;
    report.part("building the images");
    report.equal("services without the lab", ALONE, &stack.services_without_lab()?);
    images(&stack, commit, report)?;
    stack.up()?;
    let played = incident(&mut stack, commit, report);
    if played.is_err() {
        stack.show_logs()?;
    }
    played?;
    let left = stack.down()?;
    report.equal("containers, networks and volumes left", "", &left);
    Ok(())
}

/// What the images say of themselves.
fn images(stack: &Stack<'_>, commit: &str, report: &mut Report) -> Result<()> {
    for program in PROGRAMS {
        let image = format!("synscope/{program}");
        let version = stack.docker(&["run", "--rm", "--network=none", &image, "--version"])?;
        let label = |name: &str| {
            let template = format!("{{{{index .Config.Labels \"org.opencontainers.image.{name}\"}}}}");
            stack.docker(&["image", "inspect", "--format", &template, &image])
        };
        let expected = format!("{} {} ({})", stack::file(program), label("version")?, label("revision")?);
        report.equal(&format!("--version of {image} is what its labels say"), &expected, &version);
        report.check(&format!("{image} names the commit"), version.contains(commit), commit, &version);
    }
    for program in UNPRIVILEGED {
        let user =
            stack.docker(&["image", "inspect", "--format", "{{.Config.User}}", &format!("synscope/{program}")])?;
        report.equal(&format!("user of synscope/{program}"), "65532:65532", &user);
    }
    Ok(())
}

fn incident(stack: &mut Stack<'_>, commit: &str, report: &mut Report) -> Result<()> {
    stack.healthy(&SERVICES, HEALTHY)?;
    let shut = ["/healthz", "/v1/incidents", "/"].map(|path| stack.status_without_token(path));
    let shut = shut.into_iter().collect::<Result<Vec<_>>>()?;
    report.equal("health, incidents and the page for who has no token", "[200, 401, 401]", &format!("{shut:?}"));
    stack.take_token()?;
    report.part("until everything is healthy");
    let writable = stack.inspect(&[], "{{if not .HostConfig.ReadonlyRootfs}}{{.Name}}{{end}}")?.concat();
    report.equal("containers that may write to their root", "", &writable);
    let commits = stack.wait("each service's health", HEALTHY, || {
        let commits = stack.get("/v1/status")?.map(|status| commits(&status));
        Ok(commits.and_then(|commits| if commits.len() == HEALTHS { Ok(commits) } else { Err(commits.join(", ")) }))
    })?;
    let same = commits.iter().all(|found| found == commit);
    report.check("commit of each service in /v1/status", same, commit, &commits.join(", "));

    let found = stack.wait("an incident", FOUND, || {
        // The batch job's own connections may be noticed first; order's join that incident.
        let of_order = |incident: &&Value| incident["edges"][0] == EDGE;
        Ok(stack.get("/v1/incidents")?.and_then(|incidents| {
            let found = incidents.as_array().and_then(|incidents| incidents.iter().find(of_order));
            found.cloned().ok_or_else(|| incidents.to_string())
        }))
    })?;
    report.part("until the incident is found");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    report.equal("edge", EDGE, &text(&found["edges"][0]));
    let cause = &found["causes"][0];
    let cause = [&cause["name"], &cause["finding"], &cause["node"]].map(text).join(" ");
    report.equal("cause", "ct-full confirmed node-a", &cause);
    eprintln!("compose-test: {}", text(&found["title"]));

    let id = text(&found["id"]);
    let fixed = stack.post(&format!("/v1/incidents/{id}/fix"))?;
    report.check("the fix is taken", fixed.is_ok(), "a change", &fixed.map_or_else(|why| why, |told| told.to_string()));
    let state = || {
        let incident = stack.get(&format!("/v1/incidents/{id}"))?;
        Ok(incident.and_then(|incident| match text(&incident["state"]).as_str() {
            "verified" => Ok(()),
            state => Err(format!("it is {state}")),
        }))
    };
    stack.wait("the fix is verified", VERIFIED, state)?;
    report.part("until its fix is verified");
    for service in SERVICES {
        stack.restart(service)?;
        stack.healthy(&[service], HEALTHY)?;
        stack.wait(&format!("the incident after a restart of {service}"), HEALTHY, state)?;
        report.check(&format!("{service} restarts"), true, "yes", "healthy again, and the incident is still there");
    }
    report.part("restarting each service");
    Ok(())
}

/// Every commit that is told somewhere in a document.
fn commits(document: &Value) -> Vec<String> {
    let below: Vec<_> = match document {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(elements) => elements.iter().collect(),
        _ => Vec::new(),
    };
    let own = document.get("commit").and_then(Value::as_str).map(str::to_owned);
    own.into_iter().chain(below.into_iter().flat_map(commits)).collect()
}

/// What a test must leave as it was: all that has our name, and whether the machine forwards packets.
fn surroundings() -> Result<String> {
    let ours = format!("syn-t-{}", std::process::id());
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        entries.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(&ours)).collect()
    };
    let mut found: Vec<_> = leftovers::folders().iter().flat_map(|folder| names(folder)).collect();
    let mounts = fs::read_to_string("/proc/mounts")?;
    found.extend(mounts.lines().filter(|line| line.contains(&ours)).map(str::to_owned));
    found.push(format!("{FORWARDING} {}", fs::read_to_string(FORWARDING)?.trim()));
    Ok(found.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_built_with_what_the_machine_is_set_up_with() {
        let dockerfile = include_str!("../../../Dockerfile");
        let toolchain = include_str!("../../../rust-toolchain.toml");
        let channel = toolchain.split('"').nth(1).unwrap();
        assert!(dockerfile.contains(&format!("FROM rust:{channel}-slim-bookworm ")), "{channel}");
        assert!(dockerfile.contains(&format!("ARG BPF_LINKER={}\n", crate::setup::BPF_LINKER)));
        assert!(dockerfile.contains(&format!("ARG SYNSCOPE_VERSION={}\n", env!("CARGO_PKG_VERSION"))));
    }

    #[test]
    fn every_image_has_a_target_and_every_service_is_given_its_program() {
        let dockerfile = include_str!("../../../Dockerfile");
        for program in PROGRAMS {
            assert!(dockerfile.contains(&format!("\nFROM base AS {program}\n")), "{program}");
        }
        let compose = include_str!("../../../compose.yaml");
        let (_, services) = compose.split_once("\nservices:\n").unwrap();
        let (services, _) = services.split_once("\nnetworks:\n").unwrap();
        let given = include_str!("../../compose/given.yaml");
        let is_name = |line: &&str| line.starts_with("  ") && line.as_bytes()[2].is_ascii_lowercase();
        for name in services.lines().filter(|line| line.len() > 3).filter(is_name).filter(|line| *line != "  nats:") {
            assert!(given.contains(&format!("\n{name} *given\n")), "{name}");
        }
    }

    #[test]
    fn commits_are_found_wherever_they_are() {
        let document = serde_json::json!({"commit": "a", "agents": [{"health": {"commit": "b"}}, {"commit": null}]});
        assert_eq!(commits(&document), ["a", "b"]);
    }
}
