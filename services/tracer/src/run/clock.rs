//! Points in time as text, in local time: the formats of `strftime(3)`, and `%f` for microseconds.
#![expect(unsafe_code, reason = "the C library knows calendars and time zones")]

use std::ffi::CString;
use std::sync::OnceLock;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;
/// Bytes that a point in time becomes at most: what is longer is left out.
const LONGEST: usize = 1 << 14;

/// The time of day.
pub(super) fn now(format: &str) -> Vec<u8> {
    local(format, read(ClockId::CLOCK_REALTIME))
}

/// A point in time in nanoseconds of the boot clock. How far that is from the time of day is read once, so that points in
/// time stay as far from each other as they were.
pub(super) fn since_boot(format: &str, nanoseconds: u64) -> Vec<u8> {
    static BOOT: OnceLock<i128> = OnceLock::new();
    let boot = *BOOT.get_or_init(|| read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_BOOTTIME));
    local(format, boot + i128::from(nanoseconds))
}

/// Nanoseconds since 1970 as universal time.
pub(super) fn universal(format: &str, nanoseconds: i128) -> Vec<u8> {
    formatted(libc::gmtime_r, format, nanoseconds)
}

/// Nanoseconds of a clock; zero where the kernel has no such clock.
fn read(clock: ClockId) -> i128 {
    let now = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    i128::try_from(now.as_nanos()).unwrap_or(0)
}

/// Nanoseconds since 1970 as local time.
pub(super) fn local(format: &str, nanoseconds: i128) -> Vec<u8> {
    formatted(libc::localtime_r, format, nanoseconds)
}

/// How the C library takes a point in time apart: of some time zone.
type Zone = unsafe extern "C" fn(*const libc::time_t, *mut libc::tm) -> *mut libc::tm;

fn formatted(zone: Zone, format: &str, nanoseconds: i128) -> Vec<u8> {
    let seconds = i64::try_from(nanoseconds.div_euclid(SECOND)).unwrap_or(0);
    let microseconds = nanoseconds.rem_euclid(SECOND) / 1000;
    // What is behind an empty text or one that is too long tells the two apart.
    let format = with_microseconds(format, microseconds) + "|";
    let Ok(format) = CString::new(format) else { return Vec::new() };
    // SAFETY: `struct tm` is numbers and a pointer, for all of which zero will do.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to what they should, and the library keeps neither.
    if unsafe { zone(&raw const seconds, &raw mut parts) }.is_null() {
        return Vec::new();
    }
    let mut text = vec![0_u8; 64];
    loop {
        // SAFETY: the room is as long as is said, the format ends with a zero, and the parts are filled in.
        let length = unsafe { libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), &raw const parts) };
        if length > 0 {
            text.truncate(length - 1);
            return text;
        }
        if text.len() >= LONGEST {
            return Vec::new();
        }
        text.resize(text.len() * 2, 0);
    }
}

/// A format with its `%f` written out.
fn with_microseconds(format: &str, microseconds: i128) -> String {
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('f') => text.extend([format!("{microseconds:06}")]),
            other => text.extend(std::iter::once('%').chain(other)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_formatted() {
        let text = |format: &str, nanoseconds| String::from_utf8(local(format, nanoseconds)).unwrap();
        assert_eq!(text("%s %f", 1_234_567_890_000_123_000), "1234567890 000123");
        // Before 1970 too, microseconds count up.
        assert_eq!(text("%s.%f", -1), "-1.999999");
        assert_eq!(text("100%%f %", 5_000), "100%f %");
        assert_eq!(text("", 0), "");
        assert_eq!(text(&"%Y".repeat(100), 1_000_000_000 * SECOND), "2001".repeat(100));
        assert_eq!(text(&"-".repeat(20_000), 0), "");
    }
}
