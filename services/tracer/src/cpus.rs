//! The machine's CPUs by their numbers, as the kernel lists them.

use std::io;
use std::sync::OnceLock;

/// CPUs that the kernel keeps values for: all that may ever be there.
pub(crate) fn possible() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        // `0-3` or `0`: the last number is that of the last CPU.
        let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
        let last = text.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<usize>().ok());
        last.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |last| last + 1)
    })
}

/// The numbers of the CPUs that run now.
pub(crate) fn online() -> io::Result<Vec<i32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<i32>().map_err(io::Error::other);
        cpus.extend(number(first)?..=number(last)?);
    }
    Ok(cpus)
}
