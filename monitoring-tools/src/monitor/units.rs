//! Numbers as people read them, in a few characters. What is not known is a dash, never 0.

use std::time::Duration;

/// What stands for a number that is not there.
pub(super) const NONE: &str = "–";

/// Three digits and a unit of a factor of 1000: `1.23k`, `45.6M`.
pub(super) fn count(value: Option<f64>) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// Bytes: `1.23 KiB`, without the space and the `B`.
pub(super) fn bytes(value: Option<f64>) -> String {
    scaled(value, 1024.0, &["B", "Ki", "Mi", "Gi", "Ti", "Pi"])
}

/// A share as percent, of which more than 100 are possible.
pub(super) fn percent(ratio: Option<f64>) -> String {
    let Some(percent) = known(ratio).map(|ratio| ratio * 100.0) else {
        return NONE.to_owned();
    };
    // Not quite idle is not idle.
    match percent {
        0.0 => "0%".to_owned(),
        small if small.abs() < 0.05 => "<0.1%".to_owned(),
        small if small.abs() < 9.95 => format!("{small:.1}%"),
        large if large.abs() < HUGE => format!("{large:.0}%"),
        large => huge(large) + "%",
    }
}

/// Seconds: `1.2µs`, `34ms`, `5.6s`.
pub(super) fn seconds(value: Option<f64>) -> String {
    let Some(value) = known(value) else {
        return NONE.to_owned();
    };
    let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];
    let unit = units.iter().find(|(unit, _)| value.abs() >= unit * 0.9995);
    let (unit, name) = if value == 0.0 {
        (1.0, "s")
    } else {
        *unit.unwrap_or(&units[3])
    };
    format!("{}{name}", digits(value / unit))
}

/// A whole number with a unit behind it, as of temperatures.
pub(super) fn whole(value: Option<f64>, unit: &str) -> String {
    match known(value) {
        None => NONE.to_owned(),
        Some(value) if value.abs() >= HUGE => huge(value) + unit,
        Some(value) => format!("{value:.0}{unit}"),
    }
}

/// A number with two digits behind the point, as of load.
pub(super) fn two(value: Option<f64>) -> String {
    match known(value) {
        None => NONE.to_owned(),
        Some(value) if value.abs() >= HUGE => huge(value),
        Some(value) => format!("{value:.2}"),
    }
}

/// A time that has passed: `3d 04:12`, `04:12:33`, `33 s`.
pub(super) fn passed(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, seconds) {
        (0, 0..60) => format!("{rest} s"),
        (0, _) => format!("{hours:02}:{minutes:02}:{rest:02}"),
        _ => format!("{days}d {hours:02}:{minutes:02}"),
    }
}

/// Numbers beyond it are nobody's: it is not said what they are, but that they are.
const HUGE: f64 = 1e6;

/// As short as other numbers, so that nothing of it is cut off.
fn huge(value: f64) -> String {
    let text = if value > 0.0 { ">1e6" } else { "<-1e6" };
    text.to_owned()
}

fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

fn scaled(value: Option<f64>, step: f64, units: &[&str]) -> String {
    let Some(mut value) = known(value) else {
        return NONE.to_owned();
    };
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // What would be rounded to 1000 is 1 of the next unit.
    while value.abs() >= step.min(999.5) {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / step, next);
    }
    format!("{}{unit}", digits(value))
}

/// Three digits, and none behind the point where they say nothing.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= HUGE => huge(value),
        0.0 => "0".to_owned(),
        size if size < 0.005 => "<0.01".to_owned(),
        size if size < 9.995 => {
            let text = format!("{value:.2}");
            text.strip_suffix(".00").map(str::to_owned).unwrap_or(text)
        }
        size if size < 99.95 => {
            let text = format!("{value:.1}");
            text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
        }
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let check = |show: fn(Option<f64>) -> String, value: f64, want: &str| {
            assert_eq!(show(Some(value)), want, "{value}");
        };
        check(count, 0.0, "0");
        check(count, 0.001, "<0.01");
        check(count, 0.5, "0.50");
        check(count, 7.0, "7");
        check(count, 12.34, "12.3");
        check(count, 999.4, "999");
        check(count, 999.6, "1k");
        check(count, 1_234_567.0, "1.23M");
        check(count, 1e18, "1000P");
        check(count, 1e300, ">1e6P");
        check(count, -12.0, "-12");
        check(bytes, -1e300, "<-1e6Pi");
        check(percent, 1e300, ">1e6%");
        check(seconds, 1e300, ">1e6s");
        check(two, 1e300, ">1e6");
        check(bytes, 0.0, "0B");
        check(bytes, 512.0, "512B");
        check(bytes, 1000.0, "0.98Ki");
        check(bytes, 1024.0, "1Ki");
        check(bytes, 126_701_535_232.0, "118Gi");
        check(percent, 0.0, "0%");
        check(percent, 0.0001, "<0.1%");
        check(percent, 0.0123, "1.2%");
        check(percent, 0.5, "50%");
        check(percent, 12.0, "1200%");
        check(seconds, 0.0, "0s");
        check(seconds, 1e-10, "0.10ns");
        check(seconds, 1.5e-6, "1.50µs");
        check(seconds, 0.25, "250ms");
        check(seconds, 0.9996, "1s");
        check(seconds, 16.0, "16s");
        for show in [count, bytes, percent, seconds, two] {
            assert_eq!(show(None), NONE);
            assert_eq!(show(Some(f64::NAN)), NONE);
            assert_eq!(show(Some(f64::INFINITY)), NONE);
        }
        assert_eq!(whole(Some(49.5), "°"), "50°");
        assert_eq!(whole(Some(1e300), "°"), ">1e6°");
        assert_eq!(whole(None, "°"), NONE);
    }

    #[test]
    fn times() {
        let check = |seconds, want: &str| assert_eq!(passed(Duration::from_secs(seconds)), want);
        check(0, "0 s");
        check(59, "59 s");
        check(60, "00:01:00");
        check(86_399, "23:59:59");
        check(86_400, "1d 00:00");
        check(274_320, "3d 04:12");
    }
}
