//! Times and spans for people.

use std::time::Duration;

use legwork_core::Timestamp;

/// A span, short: `850 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`, `5 d 4 h`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", (duration.as_millis() / 100) as f64 / 10.0),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A span in whole units, for what is redrawn every second: `7 s`, `4 min 5 s`.
pub(crate) fn ticking(duration: Duration) -> String {
    if duration.as_secs() < 60 { format!("{} s", duration.as_secs()) } else { span(duration) }
}

/// How long ago, or how long from now: `just now`, `5 min ago`, `in 3 d`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let (distance, ahead) = if at > now { (at.since(now), true) } else { (now.since(at), false) };
    let seconds = distance.as_secs();
    let words = match seconds {
        0..5 => return "just now".to_owned(),
        5..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    };
    if ahead { format!("in {words}") } else { format!("{words} ago") }
}

/// A point in time and how far away it is.
pub(crate) fn at(at: Timestamp, now: Timestamp) -> String {
    format!("{at} ({})", relative(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (millis, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (12_390, "12.3 s"),
            (59_999, "59.9 s"),
            (245_000, "4 min 5 s"),
            (7_380_000, "2 h 3 min"),
            (446_400_000, "5 d 4 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(ticking(Duration::from_millis(7_900)), "7 s");
    }

    #[test]
    fn points_are_relative() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let seconds = Duration::from_secs;
        assert_eq!(relative(now.minus(seconds(2)), now), "just now");
        assert_eq!(relative(now.minus(seconds(59)), now), "59 s ago");
        assert_eq!(relative(now.minus(seconds(7_300)), now), "2 h ago");
        assert_eq!(relative(now.plus(seconds(300_000)), now), "in 3 d");
    }
}
