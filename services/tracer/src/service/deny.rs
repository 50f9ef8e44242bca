//! Functions that no probe may be at.

use std::collections::BTreeMap;

use synscope_btf::Pattern;

use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::target::Target;
use crate::typed::Script;

/// Takes denied functions out of a script: of a pattern's functions some may be left. Where none is, and where a function
/// was named, that is an error.
pub(super) fn deny(script: &mut Script, denied: &[String]) -> Vec<Diagnostic> {
    let patterns: Vec<(&String, Pattern)> = denied.iter().map(|text| (text, Pattern::new(text))).collect();
    let first_like =
        |name: &str| patterns.iter().find(|(_, pattern)| pattern.matches(name)).map(|(text, _)| text.as_str());
    // By attach point: what is taken out, with one of the patterns.
    let mut taken: BTreeMap<Span, (usize, String, &str)> = BTreeMap::new();
    script.probes.retain_mut(|probe| {
        let Target::Functions { functions, .. } = &mut probe.target else { return true };
        functions.retain(|function| {
            let Some(by) = first_like(&function.name) else { return true };
            taken.entry(probe.span).or_insert_with(|| (0, function.name.clone(), by)).0 += 1;
            false
        });
        !functions.is_empty()
    });
    let diagnostic = |(span, (count, name, by)): (Span, (usize, String, &str))| {
        let reason = format!("`denied_functions` of this tracer has `{by}`");
        if script.probes.iter().any(|probe| probe.span == span) {
            let message = format!("{count} functions of the pattern are left out, such as `{name}`");
            Diagnostic::warning("denied-function", message, span).because(reason)
        } else {
            Diagnostic::error("denied-function", format!("no probe may be at `{name}`"), span).because(reason)
        }
    };
    taken.into_iter().map(diagnostic).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::diagnostic::Severity;
    use crate::service::Settings;
    use crate::settings;
    use crate::target::{KernelFunction, Way};
    use crate::typed::Probe;

    /// A probe at functions, and one more of the same attach point where there are two lists.
    fn script(attached: &[&[&str]]) -> Script {
        let function = |name: &&str| KernelFunction { name: (*name).to_owned(), module: None };
        let probe = |names: &&[&str]| Probe {
            target: Target::Functions {
                functions: names.iter().map(function).collect(),
                exit: false,
                way: Way::Multi,
                why: "",
            },
            name: "kprobe".into(),
            span: Span { start: 0, end: 5 },
            variables: Vec::new(),
            addressed: BTreeSet::new(),
            predicate: None,
            body: Vec::new(),
        };
        let probes = attached.iter().map(probe).collect();
        Script { maps: Vec::new(), probes, outputs: Vec::new(), settings: settings::Settings::default() }
    }

    fn denied(attached: &[&[&str]]) -> (usize, Vec<(Severity, String)>) {
        let mut script = script(attached);
        let said = deny(&mut script, &Settings::default().denied_functions);
        let left = script.probes.iter().map(|probe| probe.target.places()).sum();
        (left, said.into_iter().map(|said| (said.severity, said.message)).collect())
    }

    #[test]
    fn what_tracing_runs_through_is_denied() {
        for name in [
            "_raw_spin_lock_irqsave",
            "queued_spin_lock_slowpath",
            "bpf_ringbuf_reserve",
            "__htab_map_lookup_elem",
            "ktime_get_mono_fast_ns",
            "nmi_handle",
            "kprobe_ftrace_handler",
            "trace_call_bpf",
            "do_int3",
        ] {
            let (left, said) = denied(&[&[name]]);
            assert_eq!((left, said), (0, vec![(Severity::Error, format!("no probe may be at `{name}`"))]));
        }
        assert_eq!(denied(&[&["tcp_v4_connect", "nf_conntrack_in", "vfs_read"]]), (3, vec![]));
    }

    #[test]
    fn of_a_pattern_the_others_are_left() {
        let warning = "2 functions of the pattern are left out, such as `bpf_a`";
        let expected = (1, vec![(Severity::Warning, warning.to_owned())]);
        assert_eq!(denied(&[&["bpf_a", "tcp_a"], &["bpf_b"]]), expected);
    }
}
