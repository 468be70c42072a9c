//! Numbers for people: durations, octets, and text from outside made safe for a terminal.

/// Seconds in the two largest units, e.g. `3h 07m`.
pub(crate) fn duration(secs: u64) -> String {
    let (days, hours, minutes, seconds) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {seconds:02}s"),
        (0, _, _) => format!("{hours}h {minutes:02}m"),
        _ => format!("{days}d {hours:02}h"),
    }
}

/// Octets in binary units, e.g. `1.5 MiB`.
pub(super) fn octets(octets: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if octets < 1024 {
        return format!("{octets} B");
    }
    let (mut whole, mut rest, mut unit) = (octets, 0, 0usize);
    while whole >= 1024 && unit < UNITS.len() {
        (rest, whole, unit) = (whole % 1024, whole / 1024, unit.saturating_add(1));
    }
    let name = unit.checked_sub(1).and_then(|u| UNITS.get(u)).copied().unwrap_or("B");
    format!("{whole}.{} {name}", rest.saturating_mul(10) / 1024)
}

/// A number with a space between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len().saturating_mul(4) / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && digits.len().saturating_sub(i) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Text that a client chose: control characters (which could drive the operator's terminal) become `?`.
pub(crate) fn printable(text: &str) -> String {
    let hostile = |c: char| {
        // Bidirectional overrides reorder what is shown around them.
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hostile(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (secs, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 01s"),
            (3599, "59m 59s"),
            (11_220, "3h 07m"),
            (90_000, "1d 01h"),
        ] {
            assert_eq!(duration(secs), text);
        }
    }

    #[test]
    fn octets_have_binary_units() {
        for (number, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (u64::MAX, "15.9 EiB")]
        {
            assert_eq!(octets(number), text);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(printable("al\u{1b}[31mice\r\n\u{202e}"), "al?[31mice???");
        assert_eq!(printable("Jürgen"), "Jürgen");
    }
}
