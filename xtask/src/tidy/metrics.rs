//! A metric that is shown or alerted on is one that the agent exports; one that it exports is
//! documented.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    promql,
    tree::{Finding, Tree},
};

/// What the agent exports: written by its tests, one metric a line.
const EXPORTED: &str = "monitoring-agent/tests/golden/metrics.txt";

/// Where metrics are documented.
const DOCUMENTS: [&str; 2] = ["README.md", "ARCHITECTURE.md"];

/// What the parts of a histogram add to its name.
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// Prometheus' own, present without any exporter.
const PROMETHEUS: [&str; 3] = ["ALERTS", "ALERTS_FOR_STATE", "up"];

/// Dashboards and alerts name exported metrics only, and all that is exported is documented.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let exported = exported(tree.text(EXPORTED).unwrap_or_default());
    let mut findings = undocumented(tree, &exported);
    let mut used = Vec::new();
    let mut recorded = BTreeSet::new();
    for (path, text) in tree.with_extension(&["json"]) {
        if path.starts_with("dashboards/") {
            let board = serde_json::from_str(text).unwrap_or_default();
            let mut expressions = Vec::new();
            queries(&board, &mut expressions);
            for expression in expressions {
                let lines = text.lines().zip(1..);
                used.extend(promql::metrics(&expression).into_iter().map(|metric| {
                    let mut lines = lines.clone().filter(|(line, _)| line.contains(&metric));
                    (path, lines.next().map_or(1, |(_, number)| number), metric)
                }));
            }
        }
    }
    for (path, text) in tree.with_extension(&["yml", "yaml"]) {
        if path.starts_with("alerts/") {
            recorded.extend(values(text, "record:").into_iter().map(|(_, name)| name));
            for (line, expression) in [values(text, "expr:"), values(text, "series:")].concat() {
                let metrics = promql::metrics(&expression);
                used.extend(metrics.into_iter().map(|metric| (path, line, metric)));
            }
        }
    }
    for (path, line, metric) in used {
        let names = [metric.as_str(), base(&metric)];
        let own = PROMETHEUS.contains(&names[0]) || metric.starts_with("scrape_");
        if !own
            && !names
                .iter()
                .any(|name| exported.contains_key(*name) || recorded.contains(*name))
        {
            let what = format!("`{metric}` is not in {EXPORTED}: use a metric that is exported");
            findings.push(Finding::new(path, line, what));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn undocumented(tree: &Tree, exported: &BTreeMap<String, usize>) -> Vec<Finding> {
    let documents = DOCUMENTS.iter().filter_map(|document| tree.text(document));
    let words: BTreeSet<&str> = documents.flat_map(words).collect();
    let absent = exported
        .iter()
        .filter(|(name, _)| !words.contains(name.as_str()) && !words.contains(base(name)));
    absent
        .map(|(name, line)| {
            let what = format!("`{name}` is not documented: add it to the table in README.md");
            Finding::new(EXPORTED, *line, what)
        })
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
}

/// A histogram's name, given one of its parts.
fn base(metric: &str) -> &str {
    PARTS
        .iter()
        .find_map(|part| metric.strip_suffix(part))
        .unwrap_or(metric)
}

/// The metrics of the list, with their lines. A line is a name with anything after it, or the
/// `# TYPE` or `# HELP` of one.
fn exported(list: &str) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for (line, number) in list.lines().zip(1..) {
        let described = line
            .strip_prefix("# TYPE ")
            .or_else(|| line.strip_prefix("# HELP "));
        let text = described.unwrap_or(line);
        let name = words(text).next().unwrap_or_default();
        if !name.is_empty() {
            names.entry(name.to_owned()).or_insert(number);
        }
    }
    names
}

/// The expressions of a dashboard: of its panels, and of its variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("expr", Value::String(expression)) => found.push(expression.clone()),
                    ("query" | "definition", Value::String(query)) => found.extend(variable(query)),
                    _ => queries(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The expression of a variable: `label_values(expression, label)` or `query_result(expression)`.
fn variable(query: &str) -> Option<String> {
    let inside = query.trim().strip_suffix(')')?;
    if let Some(arguments) = inside.strip_prefix("label_values(") {
        return Some(arguments.rsplit_once(',')?.0.to_owned());
    }
    Some(inside.strip_prefix("query_result(")?.to_owned())
}

/// The values of a key in YAML, with their lines: on the key's line, and on those that follow it
/// and are indented more.
fn values(text: &str, key: &str) -> Vec<(usize, String)> {
    let mut values = Vec::new();
    let mut lines = text.lines().zip(1..).peekable();
    while let Some((line, number)) = lines.next() {
        let Some(at) = line.find(key) else { continue };
        if !line[..at].chars().all(|c| c == ' ' || c == '-') {
            continue;
        }
        let mut value = line[at + key.len()..].trim().to_owned();
        if value.starts_with(['|', '>']) {
            value.clear();
        }
        let deeper =
            |line: &str| line.len() - line.trim_start().len() > at || line.trim().is_empty();
        while let Some((line, _)) = lines.next_if(|(line, _)| deeper(line)) {
            value.push('\n');
            value.push_str(line.trim());
        }
        // The quotes of the whole value belong to YAML.
        let bare = ['\'', '"'].iter().find_map(|quote| {
            value
                .strip_prefix(*quote)?
                .strip_suffix(*quote)
                .map(str::to_owned)
        });
        values.push((number, bare.unwrap_or(value)));
    }
    values
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
                &check(&Tree::of(&[(EXPORTED, LIST), ("README.md", readme)])),
                want,
            );
        };
        case("`a_total{cpu}` and `b_seconds`", &[]);
        case(
            "`a_total` and `b_seconds_extra`",
            &["monitoring-agent/tests/golden/metrics.txt:2"],
        );
        let plain = Tree::of(&[
            (EXPORTED, "a_total{} 1\nb_bucket\n"),
            ("ARCHITECTURE.md", "a_total b"),
        ]);
        expect(&check(&plain), &[]);
    }

    #[test]
    fn dashboards_show_what_is_exported() {
        let case = |expression: &str, want: &[&str]| {
            let board = format!("{{ \"panels\": [{{ \"targets\": [\n{{ \"expr\": \"{expression}\" }}] }}],
                \"templating\": {{ \"list\": [{{ \"query\": {{ \"query\": \"label_values(a_total, x)\" }} }}] }} }}");
            let files = [
                ("dashboards/a.json", &*board),
                (EXPORTED, LIST),
                ("README.md", LIST),
            ];
            expect(&check(&Tree::of(&files)), want);
        };
        case("rate(a_total[5m]) + up + scrape_duration_seconds", &[]);
        case("sum by (le) (rate(b_seconds_bucket[5m]))", &[]);
        case("rate(a_count_total[5m])", &["dashboards/a.json:2"]);
        let absent = [("dashboards/a.json", "{ \"expr\": \"a_total\" }")];
        expect(&check(&Tree::of(&absent)), &["dashboards/a.json:1"]);
        expect(
            &check(&Tree::of(&[("dashboards/README.md", "none yet")])),
            &[],
        );
    }

    #[test]
    fn alerts_watch_what_is_exported() {
        let case = |rules: &str, want: &[&str]| {
            let files = [
                ("alerts/a.yml", rules),
                (EXPORTED, LIST),
                ("README.md", LIST),
            ];
            expect(&check(&Tree::of(&files)), want);
        };
        case(
            "groups:\n  - rules:\n      - expr: a_total > 1\n        for: c\n",
            &[],
        );
        case(
            "- record: job:a:sum\n  expr: sum(a_total)\n- expr: job:a:sum > 1\n",
            &[],
        );
        case("- expr: |\n    a_total\n      > 1\n  for: 5m\n", &[]);
        case("- series: 'a_total{x=\"y\"}'\n  values: 0+1x5\n", &[]);
        case(
            "# expr: comment\n- alert: A\n  expr: c_total\n",
            &["alerts/a.yml:3"],
        );
        case(
            "- expr: >-\n    a_total\n    and c_total\n  for: 5m\n",
            &["alerts/a.yml:1"],
        );
        case("- series: c_total\n", &["alerts/a.yml:1"]);
    }
}
