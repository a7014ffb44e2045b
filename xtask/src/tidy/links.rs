//! Links between the documents of this repository lead somewhere.

use super::tree::{Finding, Tree};

/// Each link to a local file, in any Markdown file, names one that exists.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension(&["md"]) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, link) in links(text) {
            let target = link.split(['#', '?']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if elsewhere || target.is_empty() {
                continue;
            }
            if !resolve(folder, target).is_some_and(|target| tree.exists(&target)) {
                let what = format!("links to `{link}`, which does not exist: correct the link");
                findings.push(Finding::new(path, line, what));
            }
        }
    }
    findings
}

/// The targets of `[text](target)` and `[name]: target`, with their lines. Code is left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        let mut targets: Vec<&str> = prose.split("](").skip(1).collect();
        if prose.starts_with('[')
            && let Some((_, target)) = prose.split_once("]: ")
        {
            targets.push(target);
        }
        for target in targets {
            // A title may follow the target, and more text the link.
            let end = |c: char| c == ')' || c.is_whitespace();
            let target = target.split(end).next().unwrap_or_default();
            links.push((index + 1, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    links
}

/// A path relative to a folder, as a path in the tree; absent when it leads out of the tree.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let (folder, target) = match target.strip_prefix('/') {
        Some(from_root) => ("", from_root),
        None => (folder, target),
    };
    let mut parts = Vec::new();
    for part in folder.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    #[test]
    fn links_lead_somewhere() {
        let case = |text: &str, want: &[&str]| {
            let tree = Tree::of(&[("docs/a.md", text), ("docs/b.md", ""), ("src/main.rs", "")]);
            expect(&check(&tree), want);
        };
        case(
            "[b](b.md), [b](b.md#part), [main](../src/main.rs), [src](../src/) [root](/src)",
            &[],
        );
        case("[b](b.md \"title\") and ![picture](<b.md>)", &[]);
        case(
            "[web](https://example.org/a) [part](#part) [mail](mailto:a@example.org)",
            &[],
        );
        case("[b]: b.md", &[]);
        case(
            "`[code](nowhere.md)` and\n```text\n[code](nowhere.md)\n```",
            &[],
        );
        let found = &["docs/a.md:2"][..];
        case("\n[c](c.md)", found);
        case("\n[b](b.md) [c](c.md#part)", found);
        case("\n[c]: c.md", found);
        case("\n[out](../../a.md)", found);
        case("```\ncode\n```\n", &[]);
    }
}
