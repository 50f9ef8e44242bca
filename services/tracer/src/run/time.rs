//! The time of day as text.

/// The time of day in UTC, in a format of `strftime(3)`.
pub(super) fn time_of_day(format: &str) -> String {
    let now = ::time::OffsetDateTime::now_utc();
    let (hour, minute, second) = now.to_hms();
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let Some(conversion) = letters.next() else {
            text.push('%');
            break;
        };
        let piece = match conversion {
            'H' => format!("{hour:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'Y' => now.year().to_string(),
            'm' => format!("{:02}", u8::from(now.month())),
            'd' => format!("{:02}", now.day()),
            'F' => now.date().to_string(),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'f' => format!("{:06}", now.microsecond()),
            's' => now.unix_timestamp().to_string(),
            'n' => "\n".to_owned(),
            '%' => "%".to_owned(),
            other => format!("%{other}"),
        };
        text.push_str(&piece);
    }
    text
}
