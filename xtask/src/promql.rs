//! `PromQL` as dashboards and rules write it: parsed, searched for metrics, and narrowed down to
//! what a dashboard's variables choose.
//!
//! Owns how Grafana's variables are read. Knows nothing of dashboards and rules themselves.

mod labels;

pub(crate) use labels::{Output, output};

use std::convert::Infallible;

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{self, Expr, VectorSelector},
    util::{
        visitor::{ExprVisitorMut, walk_expr_mut},
        {ExprVisitor, walk_expr},
    },
};

/// Grafana's variables for a length of time, and durations and numbers that nobody writes. They stand for the
/// variables while an expression is parsed.
/// Those that are a part of another's name come after it.
const DURATIONS: [(&str, &str); 4] = [
    ("$__rate_interval_ms", "7070707"),
    ("$__range_s", "8080808"),
    ("$__rate_interval", "7h7m7s"),
    ("$__range", "8h8m8s"),
];

/// Parses an expression, in which variables of Grafana may stand for durations.
pub(crate) fn parse(expression: &str) -> Result<Expr, String> {
    let mut text = expression.to_owned();
    for (variable, duration) in DURATIONS {
        text = text.replace(variable, duration);
    }
    parser::parse(&text)
}

/// The metrics that an expression names, in order.
pub(crate) fn metrics(expr: &Expr) -> Vec<String> {
    selectors(expr)
        .into_iter()
        .filter_map(|selector| selector.name)
        .collect()
}

/// All selectors of an expression, in order.
pub(crate) fn selectors(expr: &Expr) -> Vec<VectorSelector> {
    struct Found(Vec<VectorSelector>);
    impl ExprVisitor for Found {
        type Error = Infallible;
        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
            match expr {
                Expr::VectorSelector(selector) => self.0.push(selector.clone()),
                Expr::MatrixSelector(matrix) => self.0.push(matrix.vs.clone()),
                _ => {}
            }
            Ok(true)
        }
    }
    let mut found = Found(Vec::new());
    let Ok(_) = walk_expr(&mut found, expr);
    found.0
}

/// The expression with more matchers: for each selector those that `of` gives for its metric, as
/// names of labels and regular expressions.
pub(crate) fn narrowed(
    expression: &str,
    of: impl Fn(&str) -> Vec<(String, String)>,
) -> Result<String, String> {
    struct Narrow<F>(F);
    impl<F: Fn(&str) -> Vec<(String, String)>> Narrow<F> {
        fn add(&self, selector: &mut VectorSelector) -> Result<(), String> {
            let name = selector.name.clone().unwrap_or_default();
            // A variable is no regular expression before it is replaced; it is never matched here.
            let any = regex::Regex::new("").map_err(|error| error.to_string())?;
            for (label, value) in (self.0)(&name) {
                let matcher = Matcher::new(MatchOp::Re(any.clone()), &label, &value);
                selector.matchers.matchers.push(matcher);
            }
            Ok(())
        }
    }
    impl<F: Fn(&str) -> Vec<(String, String)>> ExprVisitorMut for Narrow<F> {
        type Error = String;
        fn pre_visit(&mut self, expr: &mut Expr) -> Result<bool, String> {
            match expr {
                Expr::VectorSelector(selector) => self.add(selector)?,
                Expr::MatrixSelector(matrix) => self.add(&mut matrix.vs)?,
                _ => {}
            }
            Ok(true)
        }
    }
    let mut expr = parse(expression).map_err(|error| format!("{expression}: {error}"))?;
    walk_expr_mut(&mut Narrow(of), &mut expr)?;
    let mut text = expr.to_string();
    for (variable, duration) in DURATIONS {
        text = text.replace(duration, variable);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_metrics_among_other_words() {
        let check = |expression: &str, want: &[&str]| {
            assert_eq!(metrics(&parse(expression).unwrap()), want, "{expression}");
        };
        check("up", &["up"]);
        check("(a_bytes / b_bytes) < 0.1", &["a_bytes", "b_bytes"]);
        check(
            "sum by (agent, le) (rate(a_bucket{job=\"$job\",x=~'}b'}[$__rate_interval]))",
            &["a_bucket"],
        );
        check(
            "a * on (device) group_left (name) b_info offset 1h",
            &["a", "b_info"],
        );
        check(
            "max_over_time(rate(a_total[$__rate_interval])[$__range:]) unless job:c:rate5m",
            &["a_total", "job:c:rate5m"],
        );
        check("1e3 + Inf", &[]);
        assert!(parse("sum(a").is_err());
    }

    #[test]
    fn narrows_each_selector() {
        let of = |metric: &str| match metric {
            "a" => vec![("x".to_owned(), "$x".to_owned())],
            _ => Vec::new(),
        };
        let check = |expression: &str, want: &str| {
            assert_eq!(narrowed(expression, of).unwrap(), want);
        };
        check("a", "a{x=~\"$x\"}");
        check(
            "sum by (le) (rate(a{y!=\"\\\"\"}[$__rate_interval])) / b",
            "sum by (le) (rate(a{x=~\"$x\",y!=\"\\\"\"}[$__rate_interval])) / b",
        );
        check("increase(a[$__range])", "increase(a{x=~\"$x\"}[$__range])");
        check(
            "b > time() - $__rate_interval_ms / 1000 - $__range_s",
            "b > time() - $__rate_interval_ms / 1000 - $__range_s",
        );
    }
}
