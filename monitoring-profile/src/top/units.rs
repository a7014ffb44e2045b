//! Numbers for people: in a unit that fits, with two decimals. Units are those that pprof's own
//! tools show, so that lists can be compared.

/// Names that files use for a unit, what it is shown as, and how many of the first it is.
type Unit = (&'static [&'static str], &'static str, f64);

/// From small to large.
const BYTES: [Unit; 6] = [
    (&["b", "byte"], "B", 1.0),
    (&["kb", "kbyte", "kilobyte"], "kB", 1024.0),
    (&["mb", "mbyte", "megabyte"], "MB", 1_048_576.0),
    (&["gb", "gbyte", "gigabyte"], "GB", 1_073_741_824.0),
    (&["tb", "tbyte", "terabyte"], "TB", 1_099_511_627_776.0),
    (&["pb", "pbyte", "petabyte"], "PB", 1_125_899_906_842_624.0),
];

/// From small to large, in nanoseconds.
const TIMES: [Unit; 5] = [
    (&["ns", "nanosecond"], "ns", 1.0),
    (&["us", "μs", "microsecond"], "us", 1e3),
    (&["ms", "millisecond"], "ms", 1e6),
    (&["s", "sec", "second"], "s", 1e9),
    (&["h", "hr", "hour"], "hrs", 3.6e12),
];

/// How the numbers of a list are shown: all in one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// What one unit of the values is, of those that are shown.
    factor: f64,
    /// The unit behind a number.
    unit: String,
}

impl Scale {
    /// A scale for one number.
    pub fn for_value(value: i64, unit: &str) -> Self {
        Self::of(&[value], value, unit)
    }

    /// A scale in which the smallest of these numbers can still be told from 0, if that does not
    /// make the largest one too long.
    pub(super) fn of(values: &[i64], whole: i64, unit: &str) -> Self {
        let magnitudes = values.iter().map(|value| value.unsigned_abs());
        let smallest = magnitudes.filter(|value| *value != 0).min();
        let whole = whole.unsigned_abs() as f64;
        let smallest = smallest.map_or(whole, |value| value as f64);
        let Some((units, own)) = known(unit) else {
            let unit = match unit {
                // They say nothing more than the number.
                "count" | "sample" | "unit" => String::new(),
                unit => unit.to_owned(),
            };
            return Self { factor: 1.0, unit };
        };
        let fitting = |value: f64| fitting(units, value * own);
        let mut chosen = fitting(smallest);
        if chosen.1 != fitting(whole).1 && smallest * 100.0 < whole {
            chosen = fitting(smallest * 100.0);
        }
        Self {
            factor: own / chosen.2,
            unit: chosen.1.to_owned(),
        }
    }

    /// A number with its unit: `1.50s`, `12MB`, `0`.
    pub fn show(&self, value: i64) -> String {
        let number = format!("{:.2}", value as f64 * self.factor);
        match number.strip_suffix(".00").unwrap_or(&number) {
            "0" | "-0" => "0".to_owned(),
            number => format!("{number}{}", self.unit),
        }
    }
}

/// The units that a file's unit is one of, and how many of the first of them it is.
fn known(unit: &str) -> Option<(&'static [Unit], f64)> {
    let unit = unit.to_lowercase();
    let one = match unit.strip_suffix('s') {
        Some(one) if unit.len() > 2 => one,
        _ => &unit,
    };
    [&BYTES[..], &TIMES[..]].into_iter().find_map(|units| {
        let own = units.iter().find(|(names, ..)| names.contains(&one))?;
        Some((units, own.2))
    })
}

/// The largest unit that there is one of.
fn fitting(units: &'static [Unit], value: f64) -> Unit {
    let fits = units.iter().rev().find(|(_, _, factor)| value >= *factor);
    *fits.unwrap_or(&units[0])
}

/// A part of a whole, six characters wide: ` 1.25%`, `  100%`. Signs are left out.
pub(super) fn percent(part: i64, whole: i64) -> String {
    let percent = match whole {
        0 => 0.0,
        whole => (part as f64 / whole as f64 * 100.0).abs(),
    };
    let text = if (99.95..=100.05).contains(&percent) {
        "100".to_owned()
    } else if percent >= 1.0 {
        format!("{percent:.2}")
    } else {
        two_digits(percent)
    };
    format!("{text:>5}%")
}

/// A number below 1 with two digits that say something: `0.25`, `0.0013`, `0.5`, `9.1e-05`, `0`.
fn two_digits(number: f64) -> String {
    let rounded = format!("{number:.1e}");
    let (digits, power) = rounded.split_once("e-").unwrap_or((&rounded, "0"));
    match power.parse::<usize>() {
        _ if number == 0.0 => "0".to_owned(),
        Ok(power) if power <= 4 => {
            let text = format!("{number:.*}", power + 1);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => {
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            format!("{digits}e-{power:0>2}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_one_unit() {
        let check = |values: &[i64], whole: i64, unit: &str, want: &[&str]| {
            let scale = Scale::of(values, whole, unit);
            let shown: Vec<String> = values.iter().map(|value| scale.show(*value)).collect();
            assert_eq!(shown, want, "{values:?} {unit}");
        };
        check(
            &[1_980_000_000, 20_000_000, 0],
            2_000_000_000,
            "nanoseconds",
            &["1980ms", "20ms", "0"],
        );
        check(
            &[60_000_000_000, 10_000_000],
            60_010_000_000,
            "nanoseconds",
            &["60s", "0.01s"],
        );
        check(&[512, 0], 512, "bytes", &["512B", "0"]);
        check(&[1 << 30, 1 << 20], 1 << 30, "bytes", &["1024MB", "1MB"]);
        check(&[1_610_612_736], 1_610_612_736, "bytes", &["1.50GB"]);
        check(&[12, -3], 12, "count", &["12", "-3"]);
        check(&[5], 5, "cycles", &["5cycles"]);
        check(&[-2_500], 10_000, "microseconds", &["-2.50ms"]);
        check(&[], 0, "bytes", &[]);
    }

    #[test]
    fn percentages_have_two_digits_at_least() {
        let check = |part: i64, whole: i64, want: &str| assert_eq!(percent(part, whole), want);
        check(1, 1, "  100%");
        check(99_960, 100_000, "  100%");
        check(1, 3, "33.33%");
        check(-1, 8, "12.50%");
        check(2, 100, " 2.00%");
        check(3, 1000, "  0.3%");
        check(123, 100_000, " 0.12%");
        check(13, 1_000_000, "0.0013%");
        check(91, 100_000_000, "9.1e-05%");
        check(9, 10_000_000, "9e-05%");
        check(1, 1_000_000_000_000, "1e-10%");
        check(1, 1_000_000, "0.0001%");
        check(0, 5, "    0%");
        check(5, 0, "    0%");
        check(3, 1, "300.00%");
    }
}
