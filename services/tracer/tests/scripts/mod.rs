//! Scripts in folders beside the tests, and trees without places.
#![allow(dead_code, reason = "each test uses its part")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use synscope_tracer::source::{Source, Span};

/// A script and its file.
pub(crate) struct Script {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

/// All scripts of a folder, by name.
pub(crate) fn folder(name: &str) -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "bt")).collect();
    paths.sort();
    let script = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Script { source: Source::new(name, std::fs::read_to_string(&path).unwrap()), path }
    };
    paths.into_iter().map(script).collect()
}

/// A tree as text, with every place left out.
pub(crate) fn without_places(tree: &impl Debug) -> String {
    let text = format!("{tree:?}");
    let mut pieces = text.split("Span { start: ");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| text + "_" + piece.split_once('}').map_or("", |(_, rest)| rest))
}

/// Every place that a tree names.
pub(crate) fn places(tree: &impl Debug) -> Vec<Span> {
    let text = format!("{tree:?}");
    let place = |piece: &str| {
        let (start, rest) = piece.split_once(", end: ").unwrap();
        let end = rest.split_once(' ').unwrap().0;
        Span { start: start.parse().unwrap(), end: end.parse().unwrap() }
    };
    text.split("Span { start: ").skip(1).map(place).collect()
}
