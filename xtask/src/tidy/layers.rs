//! Who may know whom.

use proc_macro2::{Ident, TokenStream, TokenTree};

use super::tree::{Finding, Tree};

/// Files below the first folder do not name the second module.
const MODULES: [(&str, &str, &str); 2] = [
    (
        "monitoring-agent/src/sources",
        "export",
        "sources know no exporter: hand it a `Batch`",
    ),
    (
        "monitoring-agent/src/export",
        "sources",
        "exporters know no source: take it from a snapshot",
    ),
];

/// The package in the first folder depends on none whose name begins so.
const PACKAGES: [(&str, &str, &str); 7] = [
    (
        "monitoring-common",
        "monitoring",
        "the shared layouts import nothing of ours",
    ),
    (
        "monitoring",
        "aya",
        "the library loads no kernel programs: that is the agent's part",
    ),
    (
        "monitoring",
        "nvml-sim",
        "what stands in for hardware is for tests",
    ),
    (
        "monitoring-profile",
        "aya",
        "profiles are data: the agent takes them from the kernel",
    ),
    (
        "monitoring-profile",
        "monitoring",
        "profiles are data, which tools read without the rest",
    ),
    (
        "monitoring-agent",
        "nvml-sim",
        "what stands in for hardware is for tests",
    ),
    (
        "sim/nvml",
        "monitoring",
        "what stands in for hardware knows nothing of who reads it",
    ),
];

/// No import against the layers.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension(&["rs"]) {
        for (folder, module, why) in MODULES {
            let within = path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with(['/', '.']));
            let tokens: TokenStream = match text.parse() {
                Ok(tokens) if within => tokens,
                _ => continue,
            };
            let mut named = Vec::new();
            paths(tokens, &mut named);
            for ident in named.iter().filter(|ident| *ident == module) {
                let line = ident.span().start().line;
                findings.push(Finding::new(path, line, format!("names `{module}`; {why}")));
            }
        }
    }
    for (folder, prefix, why) in PACKAGES {
        let manifest = format!("{folder}/Cargo.toml");
        let text = tree.text(&manifest).unwrap_or_default();
        for name in dependencies(text)
            .into_iter()
            .filter(|name| name.starts_with(prefix))
        {
            let line = text
                .lines()
                .position(|line| line.starts_with(&name))
                .unwrap_or(0)
                + 1;
            let what = format!("depends on `{name}`; {why}: remove it");
            findings.push(Finding::new(&manifest, line, what));
        }
    }
    findings
}

/// Names that are part of a path: beside `::`, or in a `use`. Those within macros count as well.
fn paths(tokens: TokenStream, found: &mut Vec<Ident>) {
    in_paths(tokens, false, found);
}

fn in_paths(tokens: TokenStream, mut importing: bool, found: &mut Vec<Ident>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let colon = |at: Option<usize>| {
        let token = at.and_then(|at| tokens.get(at));
        matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
    };
    let double = |first: Option<usize>| colon(first) && colon(first.map(|first| first + 1));
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "use" => importing = true,
            TokenTree::Ident(ident)
                if importing || double(Some(at + 1)) || double(at.checked_sub(2)) =>
            {
                found.push(ident.clone());
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => importing = false,
            TokenTree::Group(group) => in_paths(group.stream(), importing, found),
            _ => {}
        }
    }
}

/// What a package depends on when it is used; its tests may know more.
fn dependencies(manifest: &str) -> Vec<String> {
    let table: toml::Table = manifest.parse().unwrap_or_default();
    let names = |table: &toml::Value| {
        let kinds = ["dependencies", "build-dependencies"].map(|kind| table.get(kind).cloned());
        let tables = kinds
            .into_iter()
            .flatten()
            .filter_map(|kind| kind.as_table().cloned());
        tables
            .flat_map(|table| table.into_iter().map(|(name, _)| name))
            .collect::<Vec<_>>()
    };
    let targets = table.get("target").and_then(toml::Value::as_table).cloned();
    let mut all = names(&toml::Value::Table(table));
    all.extend(
        targets
            .iter()
            .flatten()
            .flat_map(|(_, target)| names(target)),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    #[test]
    fn modules_keep_their_layer() {
        let case = |path: &str, text: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[(path, text)])), want);
        };
        let source = "monitoring-agent/src/sources/host.rs";
        let found = "monitoring-agent/src/sources/host.rs:1";
        case(source, "use crate::snapshot::Snapshot;", &[]);
        case(
            source,
            "// crate::export is not for us\nfn export() {}",
            &[],
        );
        case(source, "use crate::export::json;", &[found]);
        case(source, "use crate::{export, snapshot};", &[found]);
        case(source, "fn f() { crate::export::json::render() }", &[found]);
        case(
            source,
            "fn f() { assert!(crate::export::ready()) }",
            &[found],
        );
        case(
            "monitoring-agent/src/sources.rs",
            "use crate::export;",
            &["monitoring-agent/src/sources.rs:1"],
        );
        let exporter = "monitoring-agent/src/export/http.rs";
        case(
            exporter,
            "fn f(s: &State) { s.sources.len(); let sources: u8 = 1; }",
            &[],
        );
        case(
            exporter,
            "\nuse crate::sources::host;",
            &["monitoring-agent/src/export/http.rs:2"],
        );
        case(
            "monitoring-agent/src/pipeline.rs",
            "use crate::{export, sources};",
            &[],
        );
        case(
            "monitoring-agent/src/sources_list.rs",
            "use crate::export;",
            &[],
        );
    }

    #[test]
    fn packages_keep_their_layer() {
        let case = |path: &str, text: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[(path, text)])), want);
        };
        let common = "monitoring-common/Cargo.toml";
        case(
            common,
            "[package]\nname = \"monitoring-common\"\n[dependencies]\naya = \"1\"\n",
            &[],
        );
        case(
            common,
            "[dependencies]\nmonitoring = \"1\"\n",
            &["monitoring-common/Cargo.toml:2"],
        );
        let library = "monitoring/Cargo.toml";
        case(library, "[dependencies]\nmonitoring-common = \"1\"\n", &[]);
        case(
            library,
            "[dependencies]\naya.workspace = true\n",
            &["monitoring/Cargo.toml:2"],
        );
        case(
            library,
            "[target.'cfg(unix)'.dependencies]\naya-log = \"1\"\n",
            &["monitoring/Cargo.toml:2"],
        );
        case(library, "[dev-dependencies]\naya = \"1\"\n", &[]);
        let found = "monitoring/Cargo.toml:2";
        case(library, "[dev-dependencies]\nnvml-sim = \"1\"\n", &[]);
        case(library, "[dependencies]\nnvml-sim = \"1\"\n", &[found]);
        let simulator = "sim/nvml/Cargo.toml";
        let found = "sim/nvml/Cargo.toml:2";
        case(simulator, "[dependencies]\nmonitoring = \"1\"\n", &[found]);
    }
}
