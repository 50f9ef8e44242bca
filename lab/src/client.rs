//! The REST API as any user sees it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use synscope_bus::message::incident::Incident;

/// A client of the API on this machine.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) base: String,
    agent: ureq::Agent,
}

impl Api {
    /// Not connected yet.
    pub(crate) fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build();
        Self { base: format!("http://127.0.0.1:{port}"), agent: config.into() }
    }

    /// Whether the service takes requests, both nodes were heard of, and their tracers are ready.
    pub(crate) fn is_ready(&self) -> bool {
        let ready = self.agent.get(format!("{}/readyz", self.base)).call();
        let nodes = || self.get("/v1/nodes").ok().and_then(|nodes| nodes.as_array().map(Vec::len));
        let tracers = || self.get("/v1/status").is_ok_and(|status| tracers_ready(&status) == 2);
        ready.is_ok_and(|answer| answer.status() == 200) && nodes() == Some(2) && tracers()
    }

    /// Whether anyone answers.
    pub(crate) fn is_up(&self) -> bool {
        self.agent.get(format!("{}/healthz", self.base)).call().is_ok()
    }

    /// All incidents.
    pub(crate) fn incidents(&self) -> Result<Vec<Incident>> {
        serde_json::from_value(self.get("/v1/incidents")?).context("GET /v1/incidents")
    }

    /// Asks for an incident's fix; the status, and the document that came back.
    pub(crate) fn ask_for_fix(&self, id: &str) -> Result<(u16, Value)> {
        let path = format!("/v1/incidents/{id}/fix");
        let mut answer = self.agent.post(format!("{}{path}", self.base)).send_json(json!({}))?;
        let body = answer.body_mut().read_to_string()?;
        let document =
            serde_json::from_str(&body).with_context(|| format!("POST {path}: {} {body}", answer.status()))?;
        Ok((answer.status().as_u16(), document))
    }

    /// A document for people.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).header("Accept", "text/plain").call()?;
        ensure!(answer.status().is_success(), "GET {path}: {}", answer.status());
        answer.body_mut().read_to_string().with_context(|| format!("GET {path}"))
    }

    /// Any document.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let mut answer =
            self.agent.get(format!("{}{path}", self.base)).call().with_context(|| format!("GET {path}"))?;
        let body = answer.body_mut().read_to_string()?;
        ensure!(answer.status().is_success(), "GET {path}: {} {body}", answer.status());
        serde_json::from_str(&body).with_context(|| format!("GET {path}"))
    }
}

/// Tracers that are ready and miss nothing.
fn tracers_ready(status: &Value) -> usize {
    let tracers = status["tracers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_well = |tracer: &&Value| {
        let health = &tracer["health"]["value"];
        health["phase"] == "ready" && health["degradations"] == json!({})
    };
    tracers.iter().filter(is_well).count()
}
