//! Playing one scenario to its end, and what must be true then.

use anyhow::{Context, Result};
use serde_json::Value;
use synscope_bus::message::incident::{Incident, Recurrence, State};

use crate::diagnosis::{ORDER_TO_INVENTORY, diagnosis};
use crate::report::{Check, Report, say};
use crate::scenario::{End, Scenario};
use crate::stage::Stage;
use crate::steps::Steps;

/// Bursts until the incident must be there: three, and one period to say so.
const BURSTS_TO_DETECT: usize = 5;
/// Bursts after the fix until it must be verified.
const BURSTS_TO_VERIFY: usize = 4;
/// Bursts without an incident before none is believed.
const BURSTS_QUIET: usize = 5;

/// Plays it until it is found and, where it can be, fixed and verified.
pub(crate) fn play(scenario: &Scenario, stage: &mut Stage, report: &mut Report) -> Result<()> {
    let Some(expected) = scenario.expected else { return quiet(scenario, stage, report) };
    let mut found = None;
    let named = |incident: Option<&Incident>| {
        incident.is_some_and(|incident| incident.edges.first().is_some_and(|edge| edge == ORDER_TO_INVENTORY))
    };
    for _burst in 0..BURSTS_TO_DETECT {
        found = stage.burst(scenario, named)?;
        if named(found.as_ref()) {
            break;
        }
    }
    report.timing("found", stage.clock());
    let Some(mut incident) = found else {
        report.check(Check::equal("incident", expected.kind, "none"));
        return Ok(());
    };
    say(&format!("found: {}", incident.title));
    report.check(Check::new("found after bursts", stage.bursts <= 4, "at most 4", &stage.bursts.to_string()));
    if matches!(incident.recurrence, Recurrence::Insufficient { .. }) {
        say("three spikes may be chance: one more must tell whether they have a period");
        let told = |known: Option<&Incident>| {
            named(known) && known.is_some_and(|known| !matches!(known.recurrence, Recurrence::Insufficient { .. }))
        };
        incident = stage.burst(scenario, told)?.unwrap_or(incident);
    }
    for check in diagnosis(scenario, &expected, &incident, stage.bursts) {
        report.check(check);
    }
    report.incident = Some(incident);
    match expected.end {
        End::Verified => fix(scenario, stage, report),
        End::Advised => advice_only(stage, report),
    }
}

/// Bursts below every limit: nothing may be found.
fn quiet(scenario: &Scenario, stage: &mut Stage, report: &mut Report) -> Result<()> {
    for _burst in 0..BURSTS_QUIET {
        report.incident = stage.burst(scenario, |found| found.is_some())?;
        if report.incident.is_some() {
            break;
        }
    }
    let found = report.incident.as_ref().map_or("none".to_owned(), |incident| incident.title.clone());
    report.check(Check::equal("no incident", "none", &found));
    let slow = stage.orders.slow().len();
    report.check(Check::equal("slow connections as order saw them", "0", &slow.to_string()));
    Ok(())
}

/// Applies the fix as a person would, and waits for the next bursts to prove it.
fn fix(scenario: &Scenario, stage: &mut Stage, report: &mut Report) -> Result<()> {
    let incident = report.incident.clone().context("no incident to fix")?;
    let fix = incident.fix.unwrap_or_default();
    report.check(Check::new("the fix can be applied", fix.change.is_some(), "a change", &format!("{:?}", fix.change)));
    let expected = format!("POST /v1/incidents/{}/fix", incident.id);
    report.check(Check::equal("how to apply it", &expected, fix.api_call.as_deref().unwrap_or("not told")));
    say(&format!("applying its fix through the API: {}", fix.summary));
    stage.wait_for_api()?;
    let (status, document) = stage.api.ask_for_fix(&incident.id)?;
    report.check(Check::new("the fix is taken", status < 300, "status 2xx", &format!("{status}: {document}")));
    report.timing("fixed", stage.clock());
    let (slow_before, bursts_before) = (stage.orders.slow().len(), stage.bursts);
    let ended = |incident: Option<&Incident>| {
        incident
            .is_some_and(|incident| matches!(incident.state, State::Verified | State::Inconclusive | State::Reopened))
    };
    for _burst in 0..BURSTS_TO_VERIFY {
        report.incident = stage.burst(scenario, ended)?;
        if ended(report.incident.as_ref()) {
            break;
        }
    }
    report.timing("verified", stage.clock());
    let after = report.incident.as_ref().map_or("gone".to_owned(), |incident| format!("{:?}", incident.state));
    report.check(Check::equal("state after the fix", "Verified", &after));
    let bursts = stage.bursts - bursts_before;
    report.check(Check::new("bursts since the fix", bursts >= 2, "2 or more", &bursts.to_string()));
    // On a machine that is busy with something else one or the other is slow for that.
    let allowed = slow_before / 10;
    let slow = stage.orders.slow().len() - slow_before;
    let expected = format!("at most {allowed}, a tenth of before");
    let name = "slow connections since the fix, as order saw them";
    report.check(Check::new(name, slow <= allowed, &expected, &slow.to_string()));
    Ok(())
}

/// What synscope cannot change, it must not claim to change: the API says no, and what to do by hand.
fn advice_only(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let incident = report.incident.clone().unwrap_or_default();
    stage.wait_for_api()?;
    let (status, document) = stage.api.ask_for_fix(&incident.id)?;
    let told = document["advice"].as_array().map_or(0, Vec::len);
    let advice = incident.fix.map_or(0, |fix| fix.advice.len());
    report.check(Check::equal(
        "asked to apply the fix, the API",
        &format!("refuses with status 422 and {advice} pieces of advice"),
        &format!("refuses with status {status} and {told} pieces of advice"),
    ));
    Ok(())
}

/// What can be compared only when every event has arrived. Of a killed program's events some have not.
pub(crate) fn afterwards(scenario: &Scenario, stage: &Stage, killed: bool, report: &mut Report) -> Result<()> {
    let refused = stage.cluster.refused()?;
    report.check(Check::equal("what NATS refused", "nothing", refused.first().map_or("nothing", String::as_str)));
    let told = stage.cluster.logs_with_secrets()?;
    report.check(Check::equal(
        "keys in the services' logs, at level debug",
        "none",
        told.first().map_or("none", String::as_str),
    ));
    report.check(Check::equal(
        "capabilities of the analyzer",
        "0000000000000000",
        &stage.cluster.capabilities("analyzer")?,
    ));
    // To listen on ports below 1024.
    report.check(Check::equal("capabilities of the API", "0000000000000400", &stage.cluster.capabilities("api")?));
    let Some(expected) = scenario.expected else { return Ok(()) };
    if expected.loss {
        steps(stage, killed, report);
    }
    if scenario.cilium_map {
        slow_syn_report(stage, report)?;
    }
    Ok(())
}

/// Latencies are true although the first SYN had no entry: they lie where SYNs are sent again, and where the client
/// itself measured them.
fn steps(stage: &Stage, killed: bool, report: &mut Report) {
    let (told, mut felt) = (stage.watch.steps(), Steps::default());
    stage.orders.slow().iter().for_each(|took| felt.note(*took, None));
    let clear = told.are_clear() && (killed || told.agree(&felt));
    report.check(Check::new(
        "slow connections lie on the steps of SYNs sent again",
        clear,
        &format!("{felt}, as order saw them"),
        &told.to_string(),
    ));
}

/// The article's own script, as a question to the API.
fn slow_syn_report(stage: &Stage, report: &mut Report) -> Result<()> {
    let answer = stage.api.get("/v1/reports/slow-syns?above_ms=100")?;
    let number = |value: &Value| value.as_u64().context("the slow-SYN report is not as described");
    let found = number(&answer["found"])?;
    let seen = stage.orders.slow().len() as u64;
    let same = found.abs_diff(seen) <= 1 + seen / 50;
    let expected = format!("{seen}, as order saw them");
    report.check(Check::new("slow SYNs in the report", same, &expected, &found.to_string()));
    let hours = answer["hours"].as_array().context("the slow-SYN report has no hours")?;
    let by_hour = hours.iter().map(|hour| number(&hour["count"])).sum::<Result<u64>>()?;
    report.check(Check::equal("slow SYNs by hour", &found.to_string(), &by_hour.to_string()));

    let text = stage.api.text("/v1/reports/slow-syns?above_ms=100")?;
    let head = format!("Found {found} slow SYN packets (>100ms)\n\nTop 10 slowest:\n");
    let lines = text.lines().filter(|line| line.contains(": shop/order:") && line.ends_with("ms")).count();
    let like = text.starts_with(&head) && lines == 10 && text.contains("\nTime distribution of slow SYNs:\n");
    let name = "the report reads as the article's";
    report.check(Check::new(
        name,
        like,
        "the script's lines, ten slowest SYNs",
        text.lines().next().unwrap_or("empty"),
    ));
    Ok(())
}
