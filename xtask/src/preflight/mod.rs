//! What synscope finds on this machine, what it loses, and what to do about it: `cargo xtask preflight`.

mod checks;
mod node;
mod xdp;

use anyhow::Result;
use serde::Serialize;

use node::Node;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// All there.
    Ok,
    /// synscope runs with less.
    Lost,
    /// synscope cannot run.
    Missing,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    state: State,
    found: String,
    /// What is lost without it.
    without: Option<&'static str>,
    /// What to do.
    advice: Option<&'static str>,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: State::Ok, found: found.into(), without: None, advice: None }
    }

    fn lost(name: &str, found: impl Into<String>, without: &'static str, advice: &'static str) -> Self {
        Self { state: State::Lost, without: Some(without), advice: Some(advice), ..Self::ok(name, found) }
    }

    fn missing(name: &str, found: impl Into<String>, without: &'static str, advice: &'static str) -> Self {
        Self { state: State::Missing, ..Self::lost(name, found, without, advice) }
    }
}

/// Looks and prints; 0 when synscope can run at all, else 1.
pub(crate) fn run(json: bool) -> Result<u8> {
    let checks = checks::all(&Node::read()?);
    if json {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    } else {
        print!("{}", lines(&checks));
    }
    Ok(exit_code(&checks))
}

fn exit_code(checks: &[Check]) -> u8 {
    u8::from(checks.iter().any(|check| check.state == State::Missing))
}

/// One aligned line for each check.
fn lines(checks: &[Check]) -> String {
    let width = |text: fn(&Check) -> &str| checks.iter().map(|check| text(check).chars().count()).max().unwrap_or(0);
    let (names, finds) = (width(|check| &check.name), width(|check| &check.found));
    let mut lines = String::new();
    for Check { name, state, found, without, advice } in checks {
        let state = match state {
            State::Ok => "ok",
            State::Lost => "lost",
            State::Missing => "MISSING",
        };
        let rest = match (without, advice) {
            (Some(without), Some(advice)) => format!("without it: {without}; do: {advice}"),
            _ => String::new(),
        };
        let line = format!("{state:<7}  {name:<names$}  {found:<finds$}  {rest}");
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_aligned_line_for_each_check() {
        let checks = [Check::ok("kernel", "6.12.1"), Check::lost("tcx", "no", "less", "more")];
        assert_eq!(lines(&checks), "ok       kernel  6.12.1\nlost     tcx     no      without it: less; do: more\n");
    }

    #[test]
    fn only_what_is_missing_keeps_it_from_running() {
        assert_eq!(exit_code(&[Check::ok("a", ""), Check::lost("b", "", "", "")]), 0);
        assert_eq!(exit_code(&[Check::ok("a", ""), Check::missing("b", "", "", "")]), 1);
    }

    #[test]
    fn json_names_state_and_loss() {
        let json = serde_json::to_value(Check::lost("tcx", "no", "less", "more")).unwrap();
        let expected =
            serde_json::json!({"check": "tcx", "state": "lost", "found": "no", "without": "less", "advice": "more"});
        assert_eq!(json, expected);
    }
}
