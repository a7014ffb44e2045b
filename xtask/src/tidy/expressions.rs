//! Where `PromQL` stands in this repository: in dashboards, in rules, and in the rules' tests.
//!
//! Owns how the expressions are found. Knows nothing of what they may name.

use serde_json::Value;

use super::tree::Tree;

/// An expression, and what is written beside it.
pub(super) struct Use {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) expression: String,
    /// Labels of its result that a legend or an annotation names.
    pub(super) named: Vec<String>,
    /// The series that it records.
    pub(super) record: Option<String>,
}

/// The expressions of dashboards: of panels, variables and annotations.
pub(super) fn in_dashboards(tree: &Tree) -> Vec<Use> {
    let mut uses = Vec::new();
    for (path, text) in tree.with_extension(&["json"]) {
        if path.starts_with("dashboards/") {
            let board = serde_json::from_str(text).unwrap_or_default();
            let mut found = Vec::new();
            queries(&board, &mut found);
            uses.extend(found.into_iter().map(|(expression, legend)| {
                let written = Value::from(expression.as_str()).to_string();
                let mut lines = text.lines().zip(1..);
                let line = lines.find(|(line, _)| line.contains(written.trim_matches('"')));
                Use {
                    path: path.to_owned(),
                    line: line.map_or(1, |(_, number)| number),
                    expression,
                    named: between(&legend, "{{", "}}"),
                    record: None,
                }
            }));
        }
    }
    uses
}

/// Expressions with their legends.
fn queries(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("expr", Value::String(expression)) => {
                        let text = |key| fields.get(key).and_then(Value::as_str);
                        let legend = text("legendFormat").or(text("textFormat"));
                        found.push((expression.clone(), legend.unwrap_or_default().to_owned()));
                    }
                    ("query" | "definition", Value::String(query)) => {
                        found.extend(variable(query).map(|query| (query, String::new())));
                    }
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

/// The expressions of rules, and the series and expressions of their tests.
pub(super) fn in_rules(tree: &Tree) -> Vec<Use> {
    let mut uses = Vec::new();
    for (path, text) in tree.with_extension(&["yml", "yaml"]) {
        if path.starts_with("alerts/") {
            let rules: Vec<(usize, String)> = text
                .lines()
                .zip(1..)
                .filter_map(|(line, number)| {
                    let rule = item(line)?;
                    let name = rule.strip_prefix("record:").map(str::trim);
                    Some((number, name.unwrap_or_default().to_owned()))
                })
                .collect();
            for (line, expression) in [values(text, "expr:"), values(text, "series:")].concat() {
                let rule = rules.iter().rev().find(|(number, _)| *number <= line);
                let record = rule.map(|(_, name)| name.clone());
                let after = rules.iter().find(|(number, _)| *number > line);
                let length = after.map_or(usize::MAX, |(number, _)| number - line);
                let rest: Vec<&str> = text.lines().skip(line).take(length - 1).collect();
                uses.push(Use {
                    path: path.to_owned(),
                    line,
                    expression,
                    named: labels_in(&rest.join("\n")),
                    record: record.filter(|name| !name.is_empty()),
                });
            }
        }
    }
    uses
}

/// What stands in a line with which an entry of a list begins: a key and what follows. A line that
/// begins with a minus may also be part of an expression.
pub(super) fn item(line: &str) -> Option<&str> {
    let entry = line.trim_start().strip_prefix("- ")?;
    let key = entry.split(' ').next()?;
    key.ends_with(':').then_some(entry)
}

/// The labels that an alert's texts name.
fn labels_in(text: &str) -> Vec<String> {
    let parts = text.split("$labels.").skip(1);
    let end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    parts
        .map(|part| part.split(end).next().unwrap_or_default().to_owned())
        .collect()
}

fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    let parts = text.split(open).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(close)?.0.trim().to_owned()))
        .collect()
}

/// The values of a key in YAML, with their lines: on the key's line, and on those that follow it
/// and are indented more.
pub(super) fn values(text: &str, key: &str) -> Vec<(usize, String)> {
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
        value.truncate(value.trim_end().len());
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
