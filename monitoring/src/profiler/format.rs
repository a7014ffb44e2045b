//! What a report looks like: a table, JSON, folded stacks.
//!
//! Knows no clock and no thread.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::report::{PathReport, ProfileReport, ScopeReport};

/// The table's columns behind the name.
const COLUMNS: [&str; 8] = ["count", "total", "self", "avg", "p50", "p99", "min", "max"];

impl fmt::Display for ProfileReport {
    /// A table: a line for each scope, those with the most self time first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .scopes()
            .iter()
            .map(|scope| plain(scope.name()))
            .collect();
        let widths = names.iter().map(|name| name.chars().count());
        let width = widths.max().unwrap_or(0).max("scope".len());
        write!(f, "{:width$}", "scope")?;
        for column in COLUMNS {
            write!(f, "  {column:>9}")?;
        }
        for (name, scope) in names.iter().zip(self.scopes()) {
            write!(f, "\n{name:width$}  {:>9}", scope.count())?;
            let always = [scope.total(), scope.self_time()].map(Some);
            let quantiles = [scope.quantile(0.5), scope.quantile(0.99)];
            let times = always.into_iter().chain([scope.avg()]).chain(quantiles);
            for time in times.chain([scope.min(), scope.max()]) {
                write!(f, "  {:>9}", time.map_or_else(|| "-".to_owned(), human))?;
            }
        }
        if self.sampled_out() > 0 {
            let (rate, out) = (self.sample_rate(), self.sampled_out());
            write!(
                f,
                "\nsample rate {rate}: {out} outermost scopes are not in here"
            )?;
        }
        Ok(())
    }
}

impl ProfileReport {
    /// The report as JSON, times in seconds:
    ///
    /// ```json
    /// {"sample_rate": 1.0, "sampled_out": 0,
    ///  "scopes": [{"name": "load", "count": 1, "total_seconds": 0.5, "self_seconds": 0.5,
    ///              "avg_seconds": 0.5, "min_seconds": 0.5, "p50_seconds": 0.5,
    ///              "p90_seconds": 0.5, "p99_seconds": 0.5, "max_seconds": 0.5}],
    ///  "paths": [{"names": ["step", "load"], "count": 1, "total_seconds": 0.5,
    ///             "self_seconds": 0.5}]}
    /// ```
    ///
    /// Of a scope that was left never, what would be a duration is `null`.
    pub fn to_json(&self) -> String {
        let scopes: Vec<Value> = self.scopes().iter().map(scope_json).collect();
        let paths: Vec<Value> = self.paths().iter().map(path_json).collect();
        json!({
            "sample_rate": self.sample_rate(),
            "sampled_out": self.sampled_out(),
            "scopes": scopes,
            "paths": paths,
        })
        .to_string()
    }

    /// The report as folded stacks, which flame graphs are drawn from: a line for each path with
    /// self time, its names joined by `;`, a space, and the nanoseconds.
    ///
    /// A `;` in a name is written as `:`, and a control character as a space.
    pub fn to_folded(&self) -> String {
        let mut text = String::new();
        for path in self.paths() {
            let nanoseconds = path.self_time().as_nanos();
            if nanoseconds == 0 {
                continue;
            }
            let names: Vec<String> = path.names().map(folded).collect();
            text.push_str(&names.join(";"));
            text.push(' ');
            text.push_str(&nanoseconds.to_string());
            text.push('\n');
        }
        text
    }
}

fn scope_json(scope: &ScopeReport) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "name": scope.name(),
        "count": scope.count(),
        "total_seconds": scope.total().as_secs_f64(),
        "self_seconds": scope.self_time().as_secs_f64(),
        "avg_seconds": seconds(scope.avg()),
        "min_seconds": seconds(scope.min()),
        "p50_seconds": seconds(scope.quantile(0.5)),
        "p90_seconds": seconds(scope.quantile(0.9)),
        "p99_seconds": seconds(scope.quantile(0.99)),
        "max_seconds": seconds(scope.max()),
    })
}

fn path_json(path: &PathReport) -> Value {
    json!({
        "names": path.names().collect::<Vec<_>>(),
        "count": path.count(),
        "total_seconds": path.total().as_secs_f64(),
        "self_seconds": path.self_time().as_secs_f64(),
    })
}

/// A name on one line, safe for a terminal.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() {
            plain.extend(character.escape_debug());
        } else {
            plain.push(character);
        }
    }
    plain
}

fn folded(name: &str) -> String {
    name.replace(';', ":").replace(char::is_control, " ")
}

/// A time with three digits that count, in the largest unit of which there is one.
fn human(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    let (unit, per_unit) = match nanoseconds {
        ..1_000 => return format!("{nanoseconds}ns"),
        1_000..1_000_000 => ("µs", 1e3),
        1_000_000..1_000_000_000 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    let value = nanoseconds as f64 / per_unit;
    let digits = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let check = |nanoseconds: u64, want: &str| {
            assert_eq!(human(Duration::from_nanos(nanoseconds)), want);
        };
        check(0, "0ns");
        check(999, "999ns");
        check(1_000, "1.00µs");
        check(12_345, "12.3µs");
        check(123_456, "123µs");
        check(45_000_000, "45.0ms");
        check(3_600_000_000_000, "3600s");
    }

    #[test]
    fn names_break_no_form() {
        assert_eq!(plain("a\nb\u{1b}[2J é"), "a\\nb\\u{1b}[2J é");
        assert_eq!(folded("a;b\nc d"), "a:b c d");
    }
}
