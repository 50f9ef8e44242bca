//! What an incident must say: pure checks of one document.

use std::collections::BTreeSet;
use std::time::Duration;

use synscope_bus::message::incident::{Cause, Finding, Incident, Recurrence, Spike};

use crate::report::{Check, seconds};
use crate::scenario::{End, Expected, Fault, Scenario, Schedule};

/// The edge that everybody looks at; the incident must be told from its side.
pub(crate) const ORDER_TO_INVENTORY: &str = "shop/order->shop/inventory:80";
/// An onset is known to a bucket of a third of a second, and the load takes a moment to feel it.
const ONSET_S: f64 = 1.5;

/// Everything about the incident after so many bursts.
pub(crate) fn diagnosis(scenario: &Scenario, expected: &Expected, incident: &Incident, bursts: usize) -> Vec<Check> {
    let mut checks = vec![
        Check::equal("edge", ORDER_TO_INVENTORY, incident.edges.first().map_or("none", String::as_str)),
        Check::equal("kind", expected.kind, &incident.kind),
    ];
    checks.extend(causes(expected, incident));
    checks.extend(expected.refuted.iter().map(|name| refuted(name, incident)));
    if let Fault::BatchAndSlowServer(..) = scenario.fault {
        checks.push(full_and_harmless(scenario.tables.entries, incident));
    }
    checks.extend(retransmission(expected, incident));
    checks.push(fix(expected, incident));
    checks.push(recurrence(scenario.schedule, bursts, &incident.recurrence));
    checks
}

/// Their names, each once: a cause may be weighed on each node.
fn names<'a>(causes: impl Iterator<Item = &'a Cause>) -> String {
    or_none(&causes.map(|cause| cause.name.as_str()).collect::<BTreeSet<_>>())
}

fn or_none(names: &BTreeSet<&str>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().copied().collect::<Vec<_>>().join(", ") }
}

/// One cause and one culprit; what goes along with it is called that and no more.
fn causes(expected: &Expected, incident: &Incident) -> Vec<Check> {
    let found = |finding| incident.causes.iter().filter(move |cause| cause.finding == finding);
    let blamed: BTreeSet<_> = found(Finding::Confirmed).filter_map(|cause| cause.node.as_deref()).collect();
    vec![
        Check::equal("confirmed causes", expected.kind, &names(found(Finding::Confirmed))),
        Check::equal("nodes that are blamed", expected.node.unwrap_or("none"), &or_none(&blamed)),
        Check::equal(
            "correlated, mechanism unproven",
            expected.correlated.unwrap_or("none"),
            &names(found(Finding::Correlated)),
        ),
        Check::equal("causes that could not be observed", "none", &names(found(Finding::NotObserved))),
    ]
}

fn refuted(name: &str, incident: &Incident) -> Check {
    let weighed: Vec<_> = incident.refuted.iter().filter(|cause| cause.name == name).collect();
    let numbers = !weighed.is_empty() && weighed.iter().all(|cause| !cause.evidence_against.is_empty());
    let said: Vec<_> = weighed.iter().map(|cause| cause.summary.as_str()).collect();
    let actual = if said.is_empty() { "not weighed".to_owned() } else { said.join("; ") };
    Check::new(&format!("{name} is refuted with numbers"), numbers, "yes", &actual)
}

/// The table was as full as in `ct-full`, and refused, and the report says so while it refutes it.
fn full_and_harmless(entries: u32, incident: &Incident) -> Check {
    let of_the_table = |cause: &&Cause| cause.name == "ct-full" && cause.node.as_deref() == Some("node-a");
    let against: Vec<_> =
        incident.refuted.iter().filter(of_the_table).flat_map(|cause| &cause.evidence_against).collect();
    let largest = |unit: &str| {
        against.iter().filter(|evidence| evidence.unit == unit).map(|evidence| evidence.value).fold(0.0, f64::max)
    };
    let (held, refused) = (largest("entries"), largest("1"));
    Check::new(
        "the table was full and refused all the same",
        held >= f64::from(entries) && refused > 0.0,
        &format!("{entries} entries held, more refused"),
        &format!("{held} entries held, {refused} refused"),
    )
}

fn retransmission(expected: &Expected, incident: &Incident) -> Vec<Check> {
    let sum = |count: fn(&Spike) -> u64| incident.spikes.iter().map(count).sum::<u64>();
    let (retries, refused) = (sum(|spike| spike.retries), sum(|spike| spike.refused));
    let largest_ns = incident.spikes.iter().map(|spike| spike.max_ns).max().unwrap_or(0);
    let largest = format!("{:.3} s", seconds(largest_ns));
    if !expected.loss {
        let no_step = largest_ns < 1_000_000_000;
        return vec![
            Check::equal("SYNs sent again", "0", &retries.to_string()),
            Check::new("largest latency is no retransmission step", no_step, "below 1 s", &largest),
        ];
    }
    let step = (950_000_000..16_000_000_000).contains(&largest_ns);
    let mut checks = vec![
        Check::new("SYNs were sent again", retries > 0, "> 0", &retries.to_string()),
        Check::new("largest latency is a retransmission step", step, "1 s or more", &largest),
    ];
    if expected.kind == "ct-full" {
        checks.push(Check::new("SYNs were refused", refused > 0, "> 0", &refused.to_string()));
    }
    checks
}

/// What synscope can change it changes; where it cannot, it only advises.
fn fix(expected: &Expected, incident: &Incident) -> Check {
    let fix = incident.fix.clone().unwrap_or_default();
    let advised = fix.advice.iter().any(|advice| advice.command.contains(expected.advice));
    let (name, right) = match expected.end {
        End::Verified => ("fix", fix.change.is_some()),
        End::Advised => ("fix is advice only", fix.change.is_none() && fix.api_call.is_none()),
    };
    Check::new(name, right && advised, &format!("advice such as {:?}", expected.advice), &fix.summary)
}

fn recurrence(schedule: Schedule, bursts: usize, recurrence: &Recurrence) -> Check {
    let said = format!("{recurrence:?}");
    match schedule {
        Schedule::Every(period) => {
            let expected = period.as_secs_f64();
            let right = matches!(recurrence, Recurrence::Regular { period_ns, .. } if (seconds(*period_ns) / expected - 1.0).abs() <= 0.05);
            Check::new("period", right, &format!("{expected} s ± 5 %"), &said)
        }
        Schedule::Unequal(_) => {
            let played: Vec<_> = (0..bursts.saturating_sub(1)).map(|number| schedule.interval(number)).collect();
            // The first bursts may have passed before there was a past to tell them from.
            let cycles = match recurrence {
                Recurrence::Irregular { cycles, .. } => usize::try_from(*cycles).unwrap_or(usize::MAX),
                _ => 0,
            };
            let played = &played[(played.len() + 1).saturating_sub(cycles).min(played.len())..];
            let shortest = played.iter().min().map_or(0.0, Duration::as_secs_f64);
            let longest = played.iter().max().map_or(0.0, Duration::as_secs_f64);
            let near = |ns: u64, s: f64| (seconds(ns) - s).abs() <= ONSET_S;
            let right = matches!(recurrence, Recurrence::Irregular { min_ns, max_ns, .. } if near(*min_ns, shortest) && near(*max_ns, longest));
            Check::new("interval", right, &format!("irregular, {shortest} to {longest} s"), &said)
        }
    }
}

#[cfg(test)]
mod tests {
    use synscope_bus::message::incident::Evidence;

    use super::*;
    use crate::scenario;

    const S: u64 = 1_000_000_000;

    fn played(name: &str) -> (Scenario, Expected) {
        let scenario = *scenario::named(name).unwrap();
        (scenario, scenario.expected.unwrap())
    }

    fn failed(name: &str, incident: &Incident) -> Vec<String> {
        let (scenario, expected) = played(name);
        let checks = diagnosis(&scenario, &expected, incident, 3);
        checks.iter().filter(|check| !check.passed()).map(|check| check.name().to_owned()).collect()
    }

    fn cause(name: &str, finding: Finding, node: Option<&str>) -> Cause {
        Cause { name: name.into(), finding, node: node.map(str::to_owned), ..Cause::default() }
    }

    fn path_loss() -> Incident {
        let number = |unit: &str, value| Evidence { unit: unit.into(), value, ..Evidence::default() };
        let refuted =
            |name| Cause { evidence_against: vec![number("1", 0.0)], ..cause(name, Finding::Refuted, Some("node-a")) };
        let advice =
            vec![synscope_bus::message::incident::Advice { owner: "check".into(), command: "ethtool -S".into() }];
        Incident {
            kind: "path-loss".into(),
            edges: vec![ORDER_TO_INVENTORY.into()],
            spikes: vec![Spike { retries: 5, max_ns: 3 * S, ..Spike::default() }],
            causes: vec![cause("path-loss", Finding::Confirmed, None)],
            refuted: ["ct-full", "nf-conntrack-full", "listen-overflow", "delay"].map(refuted).into(),
            fix: Some(synscope_bus::message::incident::Fix { advice, ..Default::default() }),
            recurrence: Recurrence::Regular {
                period_ns: 20 * S,
                spread_ns: 0,
                spike_ns: 0,
                cycles: 3,
                cycles_expected: 3,
                next_unix_ns: 0,
                drift_ns: 0,
                chance_per_million: 0,
            },
            ..Incident::default()
        }
    }

    #[test]
    fn a_right_diagnosis_passes_and_each_mistake_is_named() {
        assert_eq!(failed("syn-loss", &path_loss()), [""; 0]);
        let mut wrong = path_loss();
        wrong.causes.push(cause("listen-overflow", Finding::Correlated, Some("node-b")));
        assert_eq!(failed("syn-loss", &wrong), ["correlated, mechanism unproven"]);
        let mut wrong = path_loss();
        wrong.causes[0].node = Some("node-a".into());
        assert_eq!(failed("syn-loss", &wrong), ["nodes that are blamed"]);
        let mut wrong = path_loss();
        wrong.refuted.retain(|cause| cause.name != "ct-full");
        assert_eq!(failed("syn-loss", &wrong), ["ct-full is refuted with numbers"]);
        let mut wrong = path_loss();
        wrong.fix.as_mut().unwrap().api_call = Some("POST".into());
        assert_eq!(failed("syn-loss", &wrong), ["fix is advice only"]);
        let mut wrong = path_loss();
        wrong.spikes[0].max_ns = S / 2;
        assert_eq!(failed("syn-loss", &wrong), ["largest latency is a retransmission step"]);
    }

    #[test]
    fn intervals_are_compared_with_those_that_were_played() {
        let (scenario, _) = played("seed");
        let said = |min_s: u64, max_s: u64, cycles| {
            let recurrence = Recurrence::Irregular { min_ns: min_s * S, max_ns: max_s * S, spike_ns: 0, cycles };
            self::recurrence(scenario.schedule, 4, &recurrence).passed()
        };
        // Played: 20, 28, 23 s.
        assert!(said(20, 28, 4) && said(23, 28, 3));
        assert!(!said(20, 28, 3) && !said(20, 31, 4) && !said(17, 28, 4));
        assert!(!recurrence(scenario.schedule, 4, &Recurrence::None).passed());
    }
}
