//! Recorded streams: one JSON document per line, `{"at_unix_ns": …, "edge": …}` or `{"at_unix_ns": …, "signal": …}`.

use std::io::BufRead;

use serde::{Deserialize, Serialize};
use synscope_bus::message::edge::EdgeBatch;
use synscope_bus::message::incident::Incident;
use synscope_bus::message::signal::NodeSignals;

use crate::engine::Engine;

/// One message, and when it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it came, Unix ns UTC.
    pub at_unix_ns: u64,
    /// An edge batch …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeBatch>,
    /// … or a reading of signals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<NodeSignals>,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file.
    #[error("line {line} cannot be read")]
    Read {
        /// From 1.
        line: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in it.
    #[error("line {line} is no recorded message")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Plays a recording through an engine that looks every `tick_ns`, and `after_ns` longer than the recording lasts. Every
/// state that an incident was told in, in order.
pub fn replay(
    engine: &mut Engine,
    recording: impl BufRead,
    tick_ns: u64,
    after_ns: u64,
) -> Result<Vec<Incident>, RecordingError> {
    let mut told = Vec::new();
    let mut next = None;
    for (index, text) in recording.lines().enumerate() {
        let text = text.map_err(|source| RecordingError::Read { line: index + 1, source })?;
        let line: Line =
            serde_json::from_str(&text).map_err(|source| RecordingError::Line { line: index + 1, source })?;
        let mut due = next.unwrap_or(line.at_unix_ns);
        while due <= line.at_unix_ns {
            told.extend(engine.tick(due));
            due += tick_ns;
        }
        next = Some(due);
        if let Some(batch) = &line.edge {
            engine.edges(batch);
        }
        if let Some(signals) = &line.signal {
            engine.signals(signals, line.at_unix_ns);
        }
    }
    let mut due = next.unwrap_or(0);
    let end = due + after_ns;
    while due <= end {
        told.extend(engine.tick(due));
        due += tick_ns;
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::Scale;

    #[test]
    fn a_bad_line_is_named() {
        let text = "{\"at_unix_ns\": 1}\nnot json\n";
        let error = replay(&mut Engine::new(Scale::new(1.0)), text.as_bytes(), 1, 0).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is no recorded message");
    }
}
