//! A metric that is shown or alerted on is one that the agent exports, with labels that it has; one
//! that it exports is documented.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    expressions::{Use, in_dashboards, in_rules},
    tree::{Finding, Tree},
};
use crate::{
    catalogue::{Catalogue, LABELS, NAMES, base},
    promql::{self, Output, output},
};

/// Where metrics are documented.
const DOCUMENTS: [&str; 2] = ["docs/metrics.md", "ARCHITECTURE.md"];

/// Prometheus' own, present without any exporter.
const PROMETHEUS: [&str; 3] = ["ALERTS", "ALERTS_FOR_STATE", "up"];

/// Dashboards and alerts name exported metrics and their labels only, and all that is exported is
/// documented.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let known = Known::of(tree);
    let mut findings = undocumented(tree, &known.exported);
    for used in in_dashboards(tree).into_iter().chain(in_rules(tree)) {
        let mut found = |what: String| findings.push(Finding::new(&used.path, used.line, what));
        match promql::parse(&used.expression) {
            Ok(expr) => {
                let metrics = promql::metrics(&expr);
                let unknown: Vec<&String> =
                    metrics.iter().filter(|name| !known.has(name)).collect();
                for name in &unknown {
                    found(format!(
                        "`{name}` is not in {NAMES}: use a metric that is exported"
                    ));
                }
                if unknown.is_empty()
                    && let Err(what) = labels(&used, &expr, &known)
                {
                    found(format!("{what}: use a label that is there"));
                }
            }
            Err(error) => found(format!("`{}` is no PromQL: {error}", used.expression)),
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// The labels that an expression and what is written beside it name are there.
fn labels(used: &Use, expr: &promql_parser::parser::Expr, known: &Known) -> Result<(), String> {
    let result = output(expr, &|metric| known.labels(metric))?;
    result.expect(used.named.iter(), &used.expression)
}

/// All that can be named: what is exported, and what rules record.
pub(super) struct Known {
    exported: Catalogue,
    recorded: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Known {
    pub(super) fn of(tree: &Tree) -> Self {
        let text = |path| tree.text(path).unwrap_or_default();
        let mut known = Self {
            exported: Catalogue::of(text(NAMES), text(LABELS)),
            recorded: BTreeMap::new(),
        };
        for used in in_rules(tree) {
            if let Some(name) = used.record {
                let expr = promql::parse(&used.expression).ok();
                let result =
                    expr.and_then(|expr| output(&expr, &|metric| known.labels(metric)).ok());
                let labels = match result {
                    Some(Output::Vector(labels)) => Some(labels),
                    _ => None,
                };
                known.recorded.insert(name, labels);
            }
        }
        known
    }

    fn has(&self, metric: &str) -> bool {
        let own = PROMETHEUS.contains(&metric) || metric.starts_with("scrape_");
        own || self.exported.has(metric) || self.recorded.contains_key(metric)
    }

    /// The labels that samples of a metric have in Prometheus, where they are known.
    pub(super) fn labels(&self, metric: &str) -> Option<BTreeSet<String>> {
        if let Some(labels) = self.recorded.get(metric) {
            return labels.clone();
        }
        let mut labels = match metric {
            "up" => BTreeSet::new(),
            _ => self.exported.labels(metric)?,
        };
        labels.extend(["job".to_owned(), "instance".to_owned()]);
        Some(labels)
    }
}

fn undocumented(tree: &Tree, exported: &Catalogue) -> Vec<Finding> {
    let documents = DOCUMENTS.iter().filter_map(|document| tree.text(document));
    let words: BTreeSet<&str> = documents.flat_map(words).collect();
    let absent = exported
        .names()
        .filter(|(name, _)| !words.contains(name) && !words.contains(base(name)));
    absent
        .map(|(name, line)| {
            let what =
                format!("`{name}` is not documented: add it to the table in docs/metrics.md");
            Finding::new(NAMES, line, what)
        })
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    const LIST: &str = "# TYPE a_total counter\n# TYPE b_seconds histogram\n";

    #[test]
    fn what_is_exported_is_documented() {
        let case = |readme: &str, want: &[&str]| {
            expect(
                &check(&Tree::of(&[(NAMES, LIST), ("docs/metrics.md", readme)])),
                want,
            );
        };
        case("`a_total{cpu}` and `b_seconds`", &[]);
        case(
            "`a_total` and `b_seconds_extra`",
            &["monitoring-agent/tests/golden/metrics.txt:2"],
        );
        let plain = Tree::of(&[
            (NAMES, "a_total{} 1\nb_bucket\n"),
            ("ARCHITECTURE.md", "a_total b"),
        ]);
        expect(&check(&plain), &[]);
    }

    #[test]
    fn dashboards_show_what_is_exported() {
        let case = |expression: &str, legend: &str, want: &[&str]| {
            let board = format!("{{ \"panels\": [{{ \"targets\": [\n{{ \"expr\": \"{expression}\", \"legendFormat\": \"{legend}\" }}] }}],
                \"templating\": {{ \"list\": [{{ \"query\": {{ \"query\": \"label_values(a_total, x)\" }} }}] }} }}");
            let files = [
                ("dashboards/a.json", &*board),
                (NAMES, LIST),
                (LABELS, "a_total x\nb_seconds y\n"),
                ("docs/metrics.md", LIST),
            ];
            expect(&check(&Tree::of(&files)), want);
        };
        let wrong = &["dashboards/a.json:2"][..];
        case(
            "rate(a_total[5m]) + on () group_left () sum(up)",
            "{{x}}",
            &[],
        );
        case("sum by (le) (rate(b_seconds_bucket[5m]))", "{{le}}", &[]);
        case("rate(a_count_total[5m])", "", wrong);
        case("sum(a_total", "", wrong);
        case("a_total{y=~'$y'}", "", wrong);
        case("sum by (y) (a_total)", "", wrong);
        case("sum(a_total)", "{{x}}", wrong);
        let absent = [("dashboards/a.json", "{ \"expr\": \"a_total\" }")];
        expect(&check(&Tree::of(&absent)), &["dashboards/a.json:1"]);
    }

    #[test]
    fn alerts_watch_what_is_exported() {
        let case = |rules: &str, want: &[&str]| {
            let files = [
                ("alerts/a.yml", rules),
                (NAMES, LIST),
                (LABELS, "a_total x\n"),
                ("docs/metrics.md", LIST),
            ];
            expect(&check(&Tree::of(&files)), want);
        };
        case(
            "groups:\n  - rules:\n      - expr: a_total > 1\n        for: c\n",
            &[],
        );
        case(
            "- record: job:a:sum\n  expr: sum by (x) (a_total)\n- expr: job:a:sum{x=\"1\"} > 1\n",
            &[],
        );
        case(
            "- record: job:a:sum\n  expr: sum(a_total)\n- expr: job:a:sum{x=\"1\"} > 1\n",
            &["alerts/a.yml:3"],
        );
        case("- expr: |\n    a_total\n      > 1\n  for: 5m\n", &[]);
        case("- series: 'a_total{x=\"y\"}'\n  values: 0+1x5\n", &[]);
        case("- series: 'a_total{z=\"y\"}'\n", &["alerts/a.yml:1"]);
        case(
            "# expr: comment\n- alert: A\n  expr: c_total\n",
            &["alerts/a.yml:3"],
        );
        case(
            "- expr: >-\n    a_total\n    and c_total\n  for: 5m\n",
            &["alerts/a.yml:1"],
        );
        case(
            "- alert: A\n  expr: sum(a_total)\n  annotations:\n    summary: '{{ $labels.x }}'\n",
            &["alerts/a.yml:2"],
        );
        case("- series: c_total\n", &["alerts/a.yml:1"]);
    }
}
