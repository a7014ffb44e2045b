//! The queries: what dashboards and rules ask, with Grafana's variables replaced.
//!
//! Owns where they stand. Knows nothing of what answers them.

use std::{fs, path::Path};

use promql_parser::{
    parser::{self, Expr},
    util::{ExprVisitor, walk_expr},
};
use serde_json::Value;

use super::absent::ABSENT;

/// What Grafana's variables stand for: everything, and times in which Prometheus scrapes often.
const VARIABLES: [(&str, &str); 8] = [
    ("$__rate_interval_ms", "60000"),
    ("$__range_s", "120"),
    ("$__rate_interval", "60s"),
    ("$__range", "2m"),
    ("$job", ".+"),
    ("$instance", ".+"),
    ("$agent", ".+"),
    ("$device", ".+"),
];

/// Something that is asked.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// For people: the file, and what of it.
    #[expect(dead_code, reason = "shown where a query fails")]
    pub(super) place: String,
    pub(super) expression: String,
}

impl Query {
    fn new(place: String, expression: &str) -> Self {
        let mut expression = expression.to_owned();
        for (variable, value) in VARIABLES {
            expression = expression.replace(variable, value);
        }
        assert!(!expression.contains('$'), "a variable in {expression}");
        Self { place, expression }
    }

    /// Whether it asks for something that cannot be had here.
    pub(super) fn may_be_absent(&self) -> bool {
        let mut absent = ABSENT.iter().filter(|(.., lacks)| lacks());
        absent.any(|(name, ..)| self.expression.contains(name))
    }
}

/// The files of a folder of the repository with this ending, by name, with their text.
pub(super) fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, String)> = entries
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no file *{ending}");
    files
}

/// Every query of every panel, every annotation, and the choice of every variable.
pub(super) fn of_dashboards() -> Vec<Query> {
    let mut queries = Vec::new();
    for (file, text) in files("dashboards", ".json") {
        let board: Value = serde_json::from_str(&text).unwrap();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for panel in list(&board["panels"]) {
            for target in list(&panel["targets"]) {
                let place = format!("{file}: {}", panel["title"]);
                queries.push(Query::new(place, target["expr"].as_str().unwrap()));
            }
        }
        for annotation in list(&board["annotations"]["list"]) {
            if let Some(expression) = annotation["expr"].as_str() {
                queries.push(Query::new(
                    format!("{file}: {}", annotation["name"]),
                    expression,
                ));
            }
        }
        for variable in list(&board["templating"]["list"]) {
            if let Some(query) = variable["query"]["query"].as_str() {
                let place = format!("{file}: {}", variable["name"]);
                queries.push(Query::new(place, &choices(query)));
            }
        }
    }
    assert!(queries.len() > 200, "{} queries", queries.len());
    queries
}

/// What tells a variable's values: `label_values(series, label)` are those of the series that have it.
fn choices(query: &str) -> String {
    let inside = query.strip_prefix("label_values(").unwrap();
    let (series, label) = inside.strip_suffix(')').unwrap().rsplit_once(',').unwrap();
    format!("count by ({}) ({series})", label.trim())
}

/// What rules ask for: of recording rules all, of alerts the series that they look at. That they are
/// well is no answer of theirs.
pub(super) fn of_rules() -> Vec<Query> {
    let mut queries = Vec::new();
    for (file, text) in files("alerts", ".rules.yml") {
        for (rule, expression) in rules(&text) {
            let place = format!("{file}: {rule}");
            let expr = parser::parse(&expression).unwrap();
            for selector in selectors(&expr) {
                queries.push(Query::new(place.clone(), &selector));
            }
            if let Some(record) = rule.strip_prefix("record: ") {
                queries.push(Query::new(place, record));
            }
        }
    }
    queries
}

/// Rules by what they are called, with their expressions. Prometheus itself reads the rest.
fn rules(text: &str) -> Vec<(String, String)> {
    let mut rules = Vec::new();
    let mut lines = text.lines().map(str::trim_end).peekable();
    while let Some(line) = lines.next() {
        let entry = line.trim_start().strip_prefix("- ").unwrap_or_default();
        if entry.starts_with("record: ") || entry.starts_with("alert: ") {
            let line = lines.next().unwrap();
            let (before, first) = line
                .split_once("expr: ")
                .expect("the expression comes first");
            let deeper = |line: &&str| line.len() - line.trim_start().len() > before.len();
            let mut expression = first.trim_start_matches(">-").to_owned();
            while let Some(line) = lines.next_if(deeper) {
                expression.push(' ');
                expression.push_str(line.trim());
            }
            rules.push((entry.to_owned(), expression));
        }
    }
    rules
}

/// The series that an expression looks at, wherever it looks in time.
fn selectors(expr: &Expr) -> Vec<String> {
    struct Found(Vec<String>);
    impl ExprVisitor for Found {
        type Error = std::convert::Infallible;
        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
            let selector = match expr {
                Expr::VectorSelector(selector) => selector,
                Expr::MatrixSelector(matrix) => &matrix.vs,
                _ => return Ok(true),
            };
            let mut now = selector.clone();
            now.offset = None;
            self.0.push(now.to_string());
            Ok(true)
        }
    }
    let mut found = Found(Vec::new());
    let Ok(_) = walk_expr(&mut found, expr);
    found.0
}
