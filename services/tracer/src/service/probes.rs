//! Probes that come with synscope: scripts whose first lines say what they are.
//!
//! The first line says what a probe tells, each of the others has a word and a colon: `cost:` low, medium or high;
//! `kernels:` those that it was tried on; `differs:` how it is not the script that people use for it, and why;
//! `parameter:` a name, `=`, its default, `;` and what it means, in the order of `$1`, `$2`, …; `internal:` maps that are
//! nobody's result.

use std::collections::BTreeMap;

use synscope_bus::command::tracer::{Cost, CuratedProbe, Probe, ProbeParameter};

/// A probe, and how its results are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Curated {
    /// What is told of it.
    pub(super) told: CuratedProbe,
    /// Maps that are no results.
    pub(super) internal: Vec<String>,
}

const FILES: [(&str, &str); 11] = [
    ("accept-queue-wait", include_str!("../../probes/accept-queue-wait.bt")),
    ("connect-latency", include_str!("../../probes/connect-latency.bt")),
    ("conntrack", include_str!("../../probes/conntrack.bt")),
    ("dns-latency", include_str!("../../probes/dns-latency.bt")),
    ("drops", include_str!("../../probes/drops.bt")),
    ("layer-latency", include_str!("../../probes/layer-latency.bt")),
    ("new-connections", include_str!("../../probes/new-connections.bt")),
    ("packet-latency", include_str!("../../probes/packet-latency.bt")),
    ("run-queue-wait", include_str!("../../probes/run-queue-wait.bt")),
    ("softirq-time", include_str!("../../probes/softirq-time.bt")),
    ("tcp-retransmits", include_str!("../../probes/tcp-retransmits.bt")),
];

/// All of them, by name.
pub(super) fn all() -> Vec<Curated> {
    FILES.iter().map(|(name, script)| read(name, script)).collect()
}

/// The one of this name.
pub(super) fn find(name: &str) -> Result<Curated, String> {
    let known = all();
    let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    let found = known.into_iter().find(|probe| probe.told.name == name);
    found.ok_or_else(|| format!("there is no probe {name:?}: there are {}", names.join(", ")))
}

impl Curated {
    /// The values of `$1`, `$2`, …; what is not given has its default.
    pub(super) fn parameters(&self, asked: &Probe) -> Result<Vec<String>, String> {
        let known = &self.told.parameters;
        if let Some(name) = asked.parameters.keys().find(|name| known.iter().all(|known| known.name != **name)) {
            let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
            return Err(format!("probe {:?} has no parameter {name:?}: it has {}", asked.name, names.join(", ")));
        }
        let value = |known: &ProbeParameter| value(known, &asked.parameters);
        known.iter().map(value).collect()
    }
}

fn value(known: &ProbeParameter, given: &BTreeMap<String, String>) -> Result<String, String> {
    let Some(given) = given.get(&known.name) else { return Ok(known.default.clone()) };
    // Whose default is a number, is a number.
    if known.default.parse::<u64>().is_ok() && given.parse::<u64>().is_err() {
        return Err(format!("parameter {:?} is a number, not {given:?}", known.name));
    }
    Ok(given.clone())
}

fn read(name: &str, script: &str) -> Curated {
    let mut probe = Curated::default();
    probe.told.name = name.to_owned();
    probe.told.script = script.to_owned();
    let mut lines = script.lines().map_while(|line| line.strip_prefix("// "));
    probe.told.about = lines.next().unwrap_or_default().to_owned();
    for (word, rest) in lines.filter_map(|line| line.split_once(": ")) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (word, words.as_slice()) {
            ("cost", ["low"]) => probe.told.cost = Cost::Low,
            ("cost", ["medium"]) => probe.told.cost = Cost::Medium,
            ("cost", ["high"]) => probe.told.cost = Cost::High,
            ("kernels", kernels) => {
                probe.told.kernels.extend(kernels.iter().map(|kernel| kernel.trim_end_matches(',').to_owned()));
            }
            ("differs", _) => rest.clone_into(&mut probe.told.differs),
            ("parameter", _) => probe.told.parameters.extend(parameter(rest)),
            ("internal", maps) => probe.internal.extend(maps.iter().map(|map| (*map).to_owned())),
            _ => {}
        }
    }
    probe
}

fn parameter(text: &str) -> Option<ProbeParameter> {
    let (name, rest) = text.split_once(" = ")?;
    let (default, about) = rest.split_once("; ")?;
    Some(ProbeParameter { name: name.to_owned(), about: about.to_owned(), default: default.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What its first lines say is understood, all of it; and there is a file for each probe.
    #[test]
    fn every_probe_says_what_it_is() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/probes")).unwrap();
        assert_eq!(files.count(), FILES.len());
        for probe in all() {
            let Curated { told, internal } = &probe;
            let header: Vec<&str> = told.script.lines().map_while(|line| line.strip_prefix("// ")).collect();
            assert!(told.about.ends_with('.') && told.cost != Cost::Unknown, "{told:?}");
            assert!(!told.kernels.is_empty() && told.differs.ends_with('.'), "{told:?}");
            let read = 4 + told.parameters.len() + usize::from(!internal.is_empty());
            assert_eq!(read, header.len(), "{}: a line is not understood", told.name);
            for parameter in &told.parameters {
                assert!(!parameter.name.is_empty() && parameter.about.ends_with('.'), "{parameter:?}");
            }
            for map in internal {
                assert!(told.script.contains(&format!("@{map}[")), "{}: no map {map}", told.name);
            }
        }
    }

    #[test]
    fn parameters_are_checked_and_have_defaults() {
        let probe = find("tcp-retransmits").unwrap();
        let asked = |name: &str, value: &str| Probe {
            name: "tcp-retransmits".into(),
            parameters: BTreeMap::from([(name.to_owned(), value.to_owned())]),
        };
        assert_eq!(probe.parameters(&Probe::default()).unwrap(), ["0"]);
        assert_eq!(probe.parameters(&asked("port", "80")).unwrap(), ["80"]);
        assert!(probe.parameters(&asked("port", "80 || 1")).unwrap_err().contains("is a number"));
        assert!(probe.parameters(&asked("prot", "80")).unwrap_err().contains("it has port"));
        assert!(find("drop").unwrap_err().contains("accept-queue-wait, connect-latency, conntrack, "));
    }
}
