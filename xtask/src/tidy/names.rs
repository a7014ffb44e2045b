//! A file says what it is about: by its name, and by its first line.

use std::path::Path;

use super::tree::{Finding, Tree};

/// Names that say nothing of what they hold.
const EMPTY: [&str; 7] = [
    "util", "utils", "helper", "helpers", "misc", "manager", "managers",
];

/// No file or module of an empty name, and no Rust file without `//!` at its head.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.paths() {
        let stem = Path::new(path).with_extension("");
        let mut parts = stem.iter().map(|part| part.to_string_lossy());
        if let Some(name) = parts.find(|part| EMPTY.contains(&part.as_ref())) {
            findings.push(Finding::new(path, 1, empty(&name)));
        }
    }
    for (path, text, syntax) in tree.rust() {
        if !text.trim_start().starts_with("//!") {
            let what = "no `//!` at its head: say what the file owns, and what it must not know";
            findings.push(Finding::new(path, 1, what));
        }
        for item in &syntax.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_some()
                && EMPTY.iter().any(|name| module.ident == name)
            {
                let line = module.ident.span().start().line;
                findings.push(Finding::new(path, line, empty(&module.ident.to_string())));
            }
        }
    }
    findings
}

fn empty(name: &str) -> String {
    format!("`{name}` says nothing: name it after the concept that it holds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    #[test]
    fn names_say_something() {
        let case = |path: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[(path, "//! text\n")])), want);
        };
        case("src/offsets.rs", &[]);
        case("src/utilisation.rs", &[]);
        case("src/utils.rs", &["src/utils.rs:1"]);
        case("src/helpers/a.rs", &["src/helpers/a.rs:1"]);
        case("scripts/misc.sh", &["scripts/misc.sh:1"]);
    }

    #[test]
    fn modules_say_something() {
        let case = |text: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[("a.rs", text)])), want);
        };
        case("//! a\n\nmod offsets {}\n", &[]);
        case("//! a\n\nmod manager {}\n", &["a.rs:3"]);
    }

    #[test]
    fn files_say_what_they_are() {
        let case = |text: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[("a.rs", text)])), want);
        };
        case("//! a\n", &[]);
        case("\n//! a\n", &[]);
        case("// a\nfn main() {}\n", &["a.rs:1"]);
        case("", &["a.rs:1"]);
    }
}
