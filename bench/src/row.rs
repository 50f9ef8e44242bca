//! One line of the result.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// Nothing is promised; the figure is for the reader.
    None,
    /// The figure itself, at most.
    AtMost(f64),
    /// The figure itself, at least.
    AtLeast(f64),
    /// Figure divided by floor, at most.
    RatioAtMost(f64),
    /// Figure divided by floor, at least.
    RatioAtLeast(f64),
}

impl fmt::Display for Aim {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::AtMost(most) => write!(to, "<= {most}"),
            Self::AtLeast(least) => write!(to, ">= {least}"),
            Self::RatioAtMost(most) => write!(to, "ratio <= {most}"),
            Self::RatioAtLeast(least) => write!(to, "ratio >= {least}"),
        }
    }
}

/// A figure beside the floor's, measured in the same run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub name: &'static str,
    /// The product's figure.
    pub value: f64,
    /// Of figure and floor.
    pub unit: &'static str,
    /// The floor program's figure; none where there is nothing to compare with.
    pub floor: Option<f64>,
    /// Figure divided by floor.
    pub ratio: Option<f64>,
    /// What it should be.
    #[serde(serialize_with = "text_or_nothing")]
    pub aim: Aim,
    /// Whether it is; none without an aim.
    pub passed: Option<bool>,
}

impl Row {
    /// A figure without a floor.
    pub(crate) fn alone(name: &'static str, value: f64, unit: &'static str, aim: Aim) -> Self {
        Self::new(name, value, unit, None, aim)
    }

    /// A figure with a floor.
    pub(crate) fn beside(name: &'static str, value: f64, unit: &'static str, floor: f64, aim: Aim) -> Self {
        Self::new(name, value, unit, Some(floor), aim)
    }

    /// A figure whose floor may be something that this kernel refuses: a ratio is then neither kept nor missed.
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str, floor: Option<f64>, aim: Aim) -> Self {
        let ratio = floor.map(|floor| value / floor);
        let passed = match aim {
            Aim::None => None,
            Aim::AtMost(most) => Some(value <= most),
            Aim::AtLeast(least) => Some(value >= least),
            Aim::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Aim::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
        };
        Self { name, value, unit, floor, ratio, aim, passed }
    }
}

fn text_or_nothing<S: Serializer>(aim: &Aim, to: S) -> Result<S::Ok, S::Error> {
    match aim {
        Aim::None => to.serialize_none(),
        aim => to.collect_str(aim),
    }
}

/// The rows as a Markdown table.
pub(crate) struct Table<'a>(pub(crate) &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "| name | value | unit | floor | ratio | aim | passed |")?;
        writeln!(to, "|---|--:|---|--:|--:|---|---|")?;
        for Row { name, value, unit, floor, ratio, aim, passed } in self.0 {
            let number = |number: Option<f64>| number.map(short).unwrap_or_default();
            let ratio = ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
            let passed = match passed {
                None => "",
                Some(true) => "yes",
                Some(false) => "**no**",
            };
            let value = short(*value);
            writeln!(to, "| {name} | {value} | {unit} | {} | {ratio} | {aim} | {passed} |", number(*floor))?;
        }
        Ok(())
    }
}

/// Three digits at least, and no more behind the point than tell something.
fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 1000.0 || number == 0.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_against_its_aim_and_a_figure_against_its_own() {
        let judged = |aim| Row::beside("x", 30.0, "ns", 20.0, aim).passed;
        assert_eq!(judged(Aim::RatioAtMost(1.5)), Some(true));
        assert_eq!(judged(Aim::RatioAtMost(1.4)), Some(false));
        assert_eq!(judged(Aim::RatioAtLeast(1.5)), Some(true));
        assert_eq!(judged(Aim::RatioAtLeast(1.6)), Some(false));
        assert_eq!(judged(Aim::AtMost(30.0)), Some(true));
        assert_eq!(judged(Aim::AtLeast(31.0)), Some(false));
        assert_eq!(judged(Aim::None), None);
        assert_eq!(Row::alone("x", 30.0, "ns", Aim::RatioAtMost(1.5)).passed, None, "there is no ratio");
    }

    #[test]
    fn rows_keep_their_shape_for_machines_and_people() {
        let rows =
            [Row::beside("a", 1500.0, "ns", 1000.0, Aim::RatioAtMost(2.0)), Row::alone("b", 0.5, "s", Aim::None)];
        let json = serde_json::to_value(&rows).unwrap_or_default();
        assert_eq!(
            json[0],
            serde_json::json!({"name": "a", "value": 1500.0, "unit": "ns", "floor": 1000.0, "ratio": 1.5, "aim": "ratio <= 2", "passed": true})
        );
        assert!(json[1]["aim"].is_null() && json[1]["floor"].is_null() && json[1]["passed"].is_null());
        let table = Table(&rows).to_string();
        assert!(table.contains("| a | 1500 | ns | 1000 | 1.500 | ratio <= 2 | yes |"), "{table}");
        assert!(table.contains("| b | 0.500 | s |  |  |  |  |"), "{table}");
    }
}
