//! Dashboards are what their source says, and keep the rules of Grafana's `dashboard-linter`.
//!
//! Owns what a dashboard must have, whoever wrote it. Knows nothing of what any one shows.

use std::collections::BTreeSet;

use promql_parser::{
    parser::Expr,
    util::{ExprVisitor, walk_expr},
};
use serde_json::{Value, json};

use super::tree::{Finding, Tree};
use crate::{
    catalogue::{Catalogue, LABELS, NAMES},
    dashboards::{FOLDER, files},
    promql,
};

/// Width of a dashboard in Grafana's units.
const WIDTH: u64 = 24;

/// Endings of what only grows.
const COUNTERS: [&str; 4] = ["_total", "_bucket", "_count", "_sum"];

/// Each file is what `cargo xtask dashboards` writes, and is well-formed.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = outdated(tree);
    for (path, text) in tree.with_extension(&["json"]) {
        if path.starts_with(FOLDER) {
            let remarks = match serde_json::from_str(text) {
                Ok(board) => remarks(&board),
                Err(error) => vec![error.to_string()],
            };
            findings.extend(remarks.iter().map(|what| Finding::new(path, 1, what)));
        }
    }
    findings
}

fn outdated(tree: &Tree) -> Vec<Finding> {
    let (Some(names), Some(labels)) = (tree.text(NAMES), tree.text(LABELS)) else {
        return Vec::new();
    };
    match files(&Catalogue::of(names, labels)) {
        Ok(files) => {
            let wrong = |(path, text): &(String, String)| tree.text(path) != Some(text.as_str());
            let what = "is not what its source says: run `cargo xtask dashboards`";
            let outdated = files.iter().filter(|file| wrong(file));
            outdated
                .map(|(path, _)| Finding::new(path, 1, what))
                .collect()
        }
        Err(error) => vec![Finding::new("xtask/src/dashboards.rs", 1, error)],
    }
}

/// What is wrong with a dashboard.
fn remarks(board: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut expect = |so: bool, what: String| {
        if !so {
            remarks.push(what);
        }
    };
    expect(board["editable"] == false, "is editable".to_owned());
    expect(board["id"].is_null(), "has an id of one Grafana".to_owned());
    for key in ["uid", "title", "description"] {
        expect(has_text(&board[key]), format!("has no {key}"));
    }
    for (name, label) in [
        ("datasource", "Data source"),
        ("job", "Job"),
        ("instance", "Instance"),
    ] {
        let variable = list(&board["templating"]["list"]).find(|it| it["name"] == name);
        expect(
            variable.is_some_and(|it| it["label"] == label),
            format!("has no variable {name} that is called {label}"),
        );
    }
    for variable in list(&board["templating"]["list"]) {
        let query = variable["type"] == "query";
        // Targets that are no agents are left out by the values that were found.
        let of_agents = variable["name"] == "job" || variable["name"] == "instance";
        let any = if of_agents { json!(null) } else { json!(".+") };
        let all = variable["multi"] == true && variable["allValue"] == any;
        let well = !query || (all && variable["refresh"] == 2 && chosen(variable));
        expect(
            well,
            format!(
                "has a variable that is no choice of several: {}",
                variable["name"]
            ),
        );
        let name = variable["name"].as_str().unwrap_or_default();
        let used = board.to_string().matches(&format!("${name}")).count()
            + board.to_string().matches(&format!("${{{name}}}")).count();
        expect(
            used > 0,
            format!("has a variable that nothing uses: {name}"),
        );
    }
    let mut ids = BTreeSet::new();
    for panel in list(&board["panels"]) {
        expect(
            ids.insert(panel["id"].as_u64()),
            format!("has two panels {}", panel["id"]),
        );
        let place = &panel["gridPos"];
        let end = place["x"]
            .as_u64()
            .zip(place["w"].as_u64())
            .map(|(x, w)| x + w);
        expect(
            end.is_some_and(|end| end <= WIDTH),
            format!("{}: too wide", panel["title"]),
        );
    }
    let panels = list(&board["panels"]).filter(|panel| panel["type"] != "row");
    remarks.extend(panels.flat_map(of_panel));
    remarks
}

fn of_panel(panel: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    for key in ["title", "description"] {
        if !has_text(&panel[key]) {
            remarks.push(format!("no {key}"));
        }
    }
    if !has_text(&panel["fieldConfig"]["defaults"]["unit"]) {
        remarks.push("no unit".to_owned());
    }
    if !chosen(panel) {
        remarks.push("not of the chosen data source".to_owned());
    }
    if list(&panel["targets"]).next().is_none() {
        remarks.push("no query".to_owned());
    }
    for target in list(&panel["targets"]) {
        let expression = target["expr"].as_str().unwrap_or_default();
        remarks.extend(of_query(expression));
        if !chosen(target) {
            remarks.push("a query not of the chosen data source".to_owned());
        }
    }
    let named = |what| format!("panel {}: {what}", panel["title"]);
    remarks.into_iter().map(named).collect()
}

/// What is wrong with an expression, but for what it names.
fn of_query(expression: &str) -> Vec<String> {
    let Ok(expr) = promql::parse(expression) else {
        // Told by another rule.
        return Vec::new();
    };
    let mut remarks = Vec::new();
    for selector in promql::selectors(&expr) {
        for (label, value) in [("job", "$job"), ("instance", "$instance")] {
            let found = selector.matchers.find_matchers(label);
            if !found.iter().any(|matcher| matcher.value == value) {
                remarks.push(format!("`{selector}` is not of the chosen {label}"));
            }
        }
    }
    let selectors = promql::selectors(&expr);
    let before = selectors.iter().filter(|selector| {
        let name = selector.name.as_deref().unwrap_or_default();
        expression.contains(&format!("count_over_time({name}{{"))
    });
    let mut counters = Counters {
        compared: before
            .filter_map(|selector| selector.name.clone())
            .collect(),
        remarks: Vec::new(),
    };
    let Ok(_) = walk_expr(&mut counters, &expr);
    remarks.append(&mut counters.remarks);
    if expression.contains("rate(") && !expression.contains("[$__rate_interval]") {
        remarks.push(format!(
            "`{expression}` has a rate of another time than $__rate_interval"
        ));
    }
    remarks
}

/// Finds counters that are shown as they are: their values mean nothing. But those of which is asked
/// how often they were there.
struct Counters {
    compared: Vec<String>,
    remarks: Vec<String>,
}

impl ExprVisitor for Counters {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        if let Expr::VectorSelector(selector) = expr {
            let name = selector.name.as_deref().unwrap_or_default();
            let grows = COUNTERS.iter().any(|ending| name.ends_with(ending));
            if grows && !self.compared.iter().any(|compared| compared == name) {
                self.remarks.push(format!(
                    "the counter `{name}` is shown without rate or increase"
                ));
            }
        }
        Ok(true)
    }
}

fn chosen(value: &Value) -> bool {
    value["datasource"]["uid"] == "${datasource}"
}

fn has_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn board(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let golden = |name| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            fs::read_to_string(root.join(name)).unwrap()
        };
        let catalogue = Catalogue::of(&golden(NAMES), &golden(LABELS));
        let (_, text) = files(&catalogue).unwrap().swap_remove(0);
        let mut board = serde_json::from_str(&text).unwrap();
        change(&mut board);
        remarks(&board)
    }

    #[test]
    fn dashboards_keep_the_rules() {
        assert_eq!(board(|_| {}), [""; 0]);
        let wrong = |change: fn(&mut Value)| assert_eq!(board(change).len(), 1);
        wrong(|board| board["editable"] = true.into());
        wrong(|board| board["uid"] = Value::Null);
        wrong(|board| board["templating"]["list"][1]["label"] = "Work".into());
        wrong(|board| board["templating"]["list"][1]["refresh"] = 1.into());
        wrong(|board| board["panels"][1]["title"] = "".into());
        wrong(|board| board["panels"][1]["description"] = Value::Null);
        wrong(|board| board["panels"][1]["id"] = board["panels"][0]["id"].clone());
        wrong(|board| board["panels"][1]["gridPos"]["w"] = 25.into());
        wrong(|board| board["panels"][1]["fieldConfig"]["defaults"]["unit"] = Value::Null);
        wrong(|board| board["panels"][1]["targets"] = Value::Null);
        wrong(|board| board["panels"][1]["datasource"]["uid"] = "abc".into());
        let query = |expression: &str| {
            let change = |board: &mut Value| {
                board["panels"][1]["targets"][0]["expr"] = expression.into();
            };
            assert_eq!(board(change).len(), 1, "{expression}");
        };
        let chosen = "{job=~\"$job\",instance=~\"$instance\"}";
        query("up{job=~\"$job\"}");
        query("up{instance=~\"$instance\",job=~\"other\"}");
        query(&format!("sum(a_total{chosen})"));
        query(&format!("rate(a_total{chosen}[5m])"));
    }

    #[test]
    fn files_are_what_their_source_says() {
        let lists = [(NAMES, ""), (LABELS, "")];
        let files = files(&Catalogue::of("", "")).unwrap();
        let mut tree: Vec<(&str, &str)> = lists.to_vec();
        tree.extend(
            files
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_str())),
        );
        assert_eq!(outdated(&Tree::of(&tree)), []);
        tree.pop();
        assert_eq!(outdated(&Tree::of(&tree)).len(), 1);
    }
}
