//! The series that shows an incident.

use synscope_bus::message::incident::{Incident, Point};

use crate::edge::Edge;
use crate::nodes::Nodes;
use crate::scale::Scale;

/// Points of an incident's picture.
const POINTS_MAX: usize = 512;
/// Buckets before the first spike that are shown.
const BEFORE: u64 = 30;

/// The incident's first edge as it looks by now: all of it since shortly before the first spike where that is not too
/// much, else around the latest spikes.
pub(crate) fn picture(edge: &Edge, nodes: &Nodes, scale: &Scale, incident: &Incident, now: u64) -> Option<Vec<Point>> {
    let points = |from, to| {
        incident
            .nodes
            .iter()
            .find_map(|node| edge.points(incident.vantage, node, from, to).filter(|all| !all.is_empty()))
    };
    let whole = points(incident.first_seen_unix_ns.saturating_sub(BEFORE * scale.bucket_ns), now)?;
    let mut shown = if whole.len() <= POINTS_MAX {
        whole
    } else {
        let (mut around, mut until) = (Vec::new(), now);
        for spike in incident.spikes.iter().rev() {
            let margin = ((spike.end_unix_ns - spike.start_unix_ns) / 2).max(3 * scale.bucket_ns);
            let from = spike.start_unix_ns.saturating_sub(margin).min(until);
            let mut window = points(from, until.min(spike.end_unix_ns + margin)).unwrap_or_default();
            if window.len() + around.len() > POINTS_MAX && !around.is_empty() {
                break;
            }
            window.append(&mut around);
            (around, until) = (window, from);
        }
        around.split_off(around.len().saturating_sub(POINTS_MAX))
    };
    let node = incident.causes.first().and_then(|cause| cause.node.as_ref()).or(incident.nodes.first())?;
    fill(&mut shown, nodes, node, scale);
    Some(shown)
}

/// Adds how full the node's table was.
fn fill(points: &mut [Point], nodes: &Nodes, node: &str, scale: &Scale) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let fills = nodes.fills(node, first.start_unix_ns, last.start_unix_ns + scale.bucket_ns);
    for point in points {
        let begin = fills.partition_point(|(at, _)| *at < point.start_unix_ns);
        let within = fills.iter().skip(begin).take_while(|(at, _)| *at < point.start_unix_ns + scale.bucket_ns);
        // Where nothing was read since, it is what it was.
        let before = begin.checked_sub(1).and_then(|before| fills.get(before));
        let fullest = within.chain(before).map(|(_, fill)| fill.share()).reduce(f64::max);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let per_mille = fullest.map(|share| (share * 1000.0) as u32);
        point.table_per_mille = per_mille;
    }
}
