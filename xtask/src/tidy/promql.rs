//! Names of metrics in a `PromQL` expression. No parser: it only tells metrics from all other words.

/// Words of the language that can stand where a metric does.
const KEYWORDS: [&str; 27] = [
    "and",
    "atan2",
    "avg",
    "bool",
    "bottomk",
    "by",
    "count",
    "count_values",
    "end",
    "group",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "max",
    "min",
    "nan",
    "offset",
    "on",
    "or",
    "quantile",
    "start",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
];

/// Words after which a list of labels stands in parentheses.
const BEFORE_LABELS: [&str; 6] = [
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "on",
    "without",
];

/// The metrics that an expression names, in order.
pub(super) fn metrics(expression: &str) -> Vec<String> {
    let mut metrics = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '"' | '\'' | '`' => after_string(after, first),
            '{' => after_group(after, '}'),
            '[' => after_group(after, ']'),
            '#' => after.split_once('\n').map_or("", |(_, next)| next),
            // A dashboard's variable: `$name` or `${name:format}`.
            '$' => match after.strip_prefix('{') {
                Some(inside) => after_group(inside, '}'),
                None => after.trim_start_matches(is_word),
            },
            // A number or a duration.
            '0'..='9' | '.' => after.trim_start_matches(|c| is_word(c) || c == '.'),
            _ if is_word(first) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, next) = rest.split_at(end);
                let lower = word.to_lowercase();
                let next = next.trim_start();
                if BEFORE_LABELS.contains(&lower.as_str()) {
                    next.strip_prefix('(')
                        .map_or(next, |labels| after_group(labels, ')'))
                } else {
                    // What stands before a parenthesis is a function.
                    if !KEYWORDS.contains(&lower.as_str()) && !next.starts_with('(') {
                        metrics.push(word.to_owned());
                    }
                    next
                }
            }
            _ => after,
        };
    }
    metrics
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// What follows a string, of which the opening quote is gone.
fn after_string(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return &text[at + c.len_utf8()..];
        }
        escaped = c == '\\' && !escaped && quote != '`';
    }
    ""
}

/// What follows a group, of which the opening bracket is gone. Brackets in strings do not count.
fn after_group(text: &str, close: char) -> &str {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' | '\'' => rest = after_string(rest, c),
            // A variable within a group, such as the range `[${interval}]`.
            '{' => rest = after_group(rest, '}'),
            _ if c == close => return rest,
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_metrics_among_other_words() {
        let check = |expression: &str, want: &[&str]| {
            assert_eq!(metrics(expression), want, "{expression}");
        };
        check("up", &["up"]);
        check("a_total > 85", &["a_total"]);
        check("(a_bytes / b_bytes) < 0.1", &["a_bytes", "b_bytes"]);
        check("increase(a_total[5m]) > 5", &["a_total"]);
        check(
            "sum by (agent, le) (rate(a_bucket{job=\"$job\",x=~'}b'}[$__rate_interval]))",
            &["a_bucket"],
        );
        check("sum(rate(a_total[5m])) without (cpu)", &["a_total"]);
        check(
            "a * on (device) group_left (name) b_info offset 1h",
            &["a", "b_info"],
        );
        check(
            "histogram_quantile(0.99, sum by (le) (a_bucket))",
            &["a_bucket"],
        );
        check(
            "label_replace(a, \"to\", \"$1\", \"from\", \"(.*)\\\"c\")",
            &["a"],
        );
        check(
            "topk(${top:text}, a[${range}]) and $b unless job:c:rate5m",
            &["a", "job:c:rate5m"],
        );
        check("a # comment\n + b", &["a", "b"]);
        check("1e3 + Inf + 5m", &[]);
        check("ünïcode \"unclosed", &["n", "code"]);
    }
}
