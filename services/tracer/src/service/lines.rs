//! What a trace writes, as lines.

use std::io;

use synscope_bus::message::trace::Line;

use crate::run::{Report, Sink, Snapshot, Text};

/// Bytes of a line; what is longer is cut, and counted.
const LINE_MAX: usize = 16 << 10;

/// Takes a trace's reports: keeps lines until somebody takes them, and the maps that it ends with.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whole lines, in the order they were written.
    whole: Vec<Line>,
    /// The beginnings of lines, of results and complaints.
    begun: [Vec<u8>; 2],
    /// Lines that were cut.
    pub(super) cut: u64,
    /// Lines so far, also those that were taken.
    pub(super) count: u64,
    /// The maps after the end.
    pub(super) last: Option<Vec<Snapshot>>,
}

impl Lines {
    /// What was written since this was last asked.
    pub(super) fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.whole)
    }

    /// Ends lines that were only begun.
    pub(super) fn finish(&mut self) {
        for error in [false, true] {
            if !self.begun[usize::from(error)].is_empty() {
                self.write(error, b"\n");
            }
        }
    }

    fn write(&mut self, error: bool, text: &[u8]) {
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let begun = &mut self.begun[usize::from(error)];
            let (piece, is_whole) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            let room = (LINE_MAX + 1).saturating_sub(begun.len());
            begun.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if is_whole {
                self.cut += u64::from(begun.len() > LINE_MAX);
                begun.truncate(LINE_MAX);
                let text = String::from_utf8_lossy(&std::mem::take(begun)).into_owned();
                self.whole.push(Line { text, error });
                self.count += 1;
            }
        }
    }
}

impl Sink for Lines {
    fn take(&mut self, report: Report) -> io::Result<()> {
        match report {
            // What was lost is told with every batch.
            Report::Attaching(_) | Report::Attached | Report::Lost(_) => Ok(()),
            Report::Ending => {
                self.last = Some(Vec::new());
                Ok(())
            }
            Report::Map(snapshot, _) if self.last.is_some() => {
                self.last.get_or_insert_default().push(snapshot);
                Ok(())
            }
            report => {
                let (mut out, mut error) = (Vec::new(), Vec::new());
                Text::new(&mut out, &mut error).take(report)?;
                self.write(false, &out);
                self.write(true, &error);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Report {
        Report::Printed { text: text.as_bytes().to_vec(), error: false }
    }

    #[test]
    fn a_line_is_told_when_it_is_whole() {
        let mut lines = Lines::default();
        for report in [printed("a"), printed("b\nc\n\nd"), Report::Printed { text: b"e\n".to_vec(), error: true }] {
            Sink::take(&mut lines, report).unwrap();
        }
        let told: Vec<_> = lines.take().into_iter().map(|line| (line.text, line.error)).collect();
        assert_eq!(told, [("ab".into(), false), ("c".into(), false), (String::new(), false), ("e".into(), true)]);
        lines.finish();
        assert_eq!(lines.take(), [Line { text: "d".into(), error: false }]);
        assert_eq!((lines.count, lines.cut, lines.take()), (5, 0, Vec::new()));
    }

    #[test]
    fn long_lines_are_cut_and_counted() {
        let mut lines = Lines::default();
        let long = "x".repeat(LINE_MAX);
        for text in [&long, "\n", &long, &long, "y\n", "z\n"] {
            Sink::take(&mut lines, printed(text)).unwrap();
        }
        let told: Vec<usize> = lines.take().iter().map(|line| line.text.len()).collect();
        assert_eq!((told, lines.cut), (vec![LINE_MAX, LINE_MAX, 1], 1));
    }
}
