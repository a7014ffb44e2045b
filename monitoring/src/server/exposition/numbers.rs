//! Numbers as both formats have them.

use std::fmt::Write as _;

/// Whole numbers below this are written digit by digit by both ways of writing a number.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// A value.
#[allow(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "it is compared with what it becomes, and to be the same is what is asked"
)]
pub(super) fn value(value: f64, text: &mut String) {
    let whole = value as i64;
    if value.abs() < WHOLE && whole as f64 == value && (whole != 0 || value.is_sign_positive()) {
        text.push_str(itoa::Buffer::new().format(whole));
    } else {
        write!(text, "{value}").expect("a String takes every write");
    }
}

/// A value, with the words for what is not finite that all parsers of OpenMetrics know.
pub(super) fn open_metrics_value(number: f64, text: &mut String) {
    match number {
        f64::INFINITY => text.push_str("+Inf"),
        f64::NEG_INFINITY => text.push_str("-Inf"),
        _ => value(number, text),
    }
}

/// A count, as the text format writes numbers.
pub(super) fn count(count: u64, text: &mut String) {
    value(count as f64, text);
}

/// A bound in the form that OpenMetrics calls canonical, and that Prometheus turns all bounds
/// into, whatever format they come in: `1.0`, `0.25`, `1e-05`, `1e+06`.
pub(super) fn canonical(bound: f64) -> String {
    if !bound.is_finite() {
        let mut text = String::new();
        open_metrics_value(bound, &mut text);
        return text;
    }
    let scientific = format!("{bound:e}");
    let (digits, exponent) = scientific
        .split_once('e')
        .expect("this is how Rust writes a number that has an exponent");
    let exponent: i32 = exponent.parse().expect("it is a whole number");
    if (-4..6).contains(&exponent) || bound == 0.0 {
        // With a point, even where nothing is behind it.
        return format!("{bound:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// Nanoseconds since 1970 as seconds.
pub(super) fn moment(unix_ns: u64, text: &mut String) {
    let (seconds, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    write!(text, "{seconds}.{ns:09}").expect("a String takes every write");
}

/// Milliseconds since 1970 as seconds.
pub(super) fn moment_of_ms(unix_ms: i64, text: &mut String) {
    let sign = if unix_ms < 0 { "-" } else { "" };
    let (seconds, ms) = (unix_ms.unsigned_abs() / 1000, unix_ms.unsigned_abs() % 1000);
    write!(text, "{sign}{seconds}.{ms:03}").expect("a String takes every write");
}
