//! An alert says what it is about, how bad it is and what to do, and has been seen to fire and to be
//! silent.

use super::{
    expressions::{item, values},
    tree::{Finding, Tree},
};

/// What each alert says beside its condition.
const SAID: [&str; 4] = ["severity:", "summary:", "description:", "runbook_url:"];

/// Where it is written what to do.
const RUNBOOKS: &str = "docs/runbooks";

/// Alerts are complete, have a runbook and tests, and no runbook is of an alert that is gone.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut runbooks = Vec::new();
    for (path, text) in tree.with_extension(&["yml"]) {
        if !path.starts_with("alerts/") || !path.ends_with(".rules.yml") {
            continue;
        }
        let tests = path.replace(".rules.yml", ".test.yml");
        let tests = tree.text(&tests).unwrap_or_default();
        for (line, name, rule) in alerts(text) {
            let runbook = format!("{RUNBOOKS}/{name}.md");
            let mut found = |what: String| findings.push(Finding::new(path, line, what));
            for said in SAID {
                if !rule.contains(said) {
                    found(format!("`{name}` has no `{said}`: add it"));
                }
            }
            if !values(&rule, "runbook_url:")
                .iter()
                .any(|(_, url)| url.ends_with(&runbook))
            {
                found(format!(
                    "`{name}` has no runbook_url that ends in {runbook}"
                ));
            }
            if !tree.exists(&runbook) {
                found(format!("{runbook} is missing: say what to do"));
            }
            let silent = fires(tests, &name);
            for (want, what) in [(false, "firing"), (true, "silent")] {
                if !silent.contains(&want) {
                    found(format!("`{name}` has no test in which it is {what}"));
                }
            }
            runbooks.push(runbook);
        }
    }
    for path in tree.paths() {
        let is_one = path.starts_with(RUNBOOKS) && !path.ends_with("/README.md");
        if is_one && !runbooks.iter().any(|runbook| runbook == path) {
            let what = "is of no alert: rename it, or take it out";
            findings.push(Finding::new(path, 1, what));
        }
    }
    findings
}

/// The alerts of a file: the line, the name and the text of each.
fn alerts(text: &str) -> Vec<(usize, String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut alerts = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(name) = line.trim_start().strip_prefix("- alert:") {
            let rule = lines[at + 1..].iter();
            let rule = rule.take_while(|line| item(line).is_none());
            let rule: Vec<&str> = rule.copied().collect();
            alerts.push((at + 1, name.trim().to_owned(), rule.join("\n")));
        }
    }
    alerts
}

/// Of each test of an alert, whether it is to be silent.
fn fires(tests: &str, name: &str) -> Vec<bool> {
    let mut silent = Vec::new();
    let mut lines = tests.lines();
    while let Some(line) = lines.next() {
        let tested = line.trim_start().strip_prefix("alertname:").map(str::trim);
        if tested == Some(name) {
            let expected = lines.next().unwrap_or_default().trim();
            silent.push(expected == "exp_alerts: []");
        }
    }
    silent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    const RULES: &str = "groups:\n- rules:\n  - alert: A\n    expr: >-\n      2\n      - up\n    labels: { severity: warning }\n    \
                         annotations:\n      summary: s\n      description: d\n      \
                         runbook_url: docs/runbooks/A.md\n";
    const TESTS: &str = "alertname: A\nexp_alerts: []\nalertname: A\nexp_alerts:\n - x\n";

    #[test]
    fn alerts_are_complete() {
        let case = |rules: &str, tests: &str, runbook: &str, want: &[&str]| {
            let files = [
                ("alerts/a.rules.yml", rules),
                ("alerts/a.test.yml", tests),
                (runbook, "text"),
            ];
            expect(&check(&Tree::of(&files)), want);
        };
        let wrong = "alerts/a.rules.yml:3";
        let book = "docs/runbooks/A.md";
        case(RULES, TESTS, book, &[]);
        case(
            RULES,
            TESTS,
            "docs/runbooks/B.md",
            &[wrong, "docs/runbooks/B.md:1"],
        );
        case(RULES, "alertname: A\nexp_alerts: []\n", book, &[wrong]);
        case(RULES, &TESTS.replace("[]", ""), book, &[wrong]);
        for said in ["severity", "summary", "description"] {
            case(&RULES.replace(said, "other"), TESTS, book, &[wrong]);
        }
        case(&RULES.replace("A.md", "C.md"), TESTS, book, &[wrong]);
    }
}
