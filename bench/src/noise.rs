//! What the analyzer makes of edges with nothing wrong. Every incident is a false one.

#[path = "../../services/analyzer/engine/tests/noise/day.rs"]
mod day;

use std::collections::HashSet;

use anyhow::Result;

use crate::row::{Aim, Row};
use crate::samples::number;
use day::false_incidents;

/// All rows about noise.
#[allow(clippy::unnecessary_wraps, reason = "groups are all alike")]
pub(crate) fn rows(full: bool) -> Result<Vec<Row>> {
    let edge_days: u64 = if full { 10_000 } else { 1_000 };
    let (mut falsely, mut titles) = (0_u64, HashSet::new());
    for seed in 0..edge_days {
        let found = false_incidents(seed);
        falsely += u64::from(!found.is_empty());
        titles.extend(found);
    }
    if falsely > 0 {
        eprintln!("bench: false incidents are said to be {titles:?}");
    }
    let per_ten_thousand = number(falsely) * 10_000.0 / number(edge_days);
    Ok(vec![
        Row::alone("analyzer-noise", number(edge_days), "edge-days", Aim::None),
        Row::alone("analyzer-false-incidents", per_ten_thousand, "per 10,000 edge-days", Aim::AtMost(1.0)),
    ])
}
