//! The table's place in a document: between two marks, replaced as a whole, so that all figures are of one run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::row::{Row, Table};

const BEGIN: &str = "<!-- measured -->\n";
const END: &str = "<!-- /measured -->";

/// Puts the rows, and what they were measured on, between the document's marks.
pub(crate) fn write(path: &Path, rows: &[Row], how: &str) -> Result<()> {
    let named = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(named)?;
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism()?;
    let table = format!("`{how}`, {cpus} CPUs ({}), kernel {kernel}:\n\n{}", cpu_model()?, Table(rows));
    fs::write(path, between(&text, &table).with_context(named)?).with_context(named)
}

/// The text with something else between its marks.
fn between(text: &str, table: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("there is no {BEGIN:?}"))?;
    let (_old, after) = rest.split_once(END).with_context(|| format!("there is no {END:?} after {BEGIN:?}"))?;
    ensure!(!after.contains(BEGIN), "there are two places for the table");
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

fn cpu_model() -> Result<String> {
    let told = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let model = told.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(model.map_or("of an unknown model", |(_, model)| model).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_the_marks_is_replaced_and_nothing_else() {
        let text = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(between(&text, "new\n").unwrap(), format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert!(between("a\nb\n", "new").is_err());
        assert!(between(&format!("{text}{text}"), "new").is_err());
    }
}
