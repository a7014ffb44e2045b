//! `cargo xtask tidy`: the repository's own rules, checked on its text.
//!
//! Each rule is a function from the tree to its findings; the list below is all of them. Rules of
//! formatting and of the language belong to rustfmt and Clippy.

mod alerts;
mod dashboards;
mod expressions;
mod families;
mod layers;
mod leftovers;
mod links;
mod metrics;
mod names;
mod shape;
mod sleeps;
mod tree;

use std::path::Path;

use anyhow::{Result, bail};

use tree::{Finding, Tree};

/// Every rule.
const RULES: [fn(&Tree) -> Vec<Finding>; 10] = [
    alerts::check,
    dashboards::check,
    families::check,
    layers::check,
    leftovers::check,
    links::check,
    metrics::check,
    names::check,
    shape::check,
    sleeps::check,
];

/// Checks all rules, and prints what breaks them.
pub(crate) fn check(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {} files, nothing to do", tree.len()),
        count => bail!("tidy found {count} things to do, listed above"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tree = Tree::read(&root).unwrap();
        assert!(tree.text("xtask/src/tidy.rs").is_some());
        assert!(tree.paths().all(|path| !path.starts_with("target/")));
    }
}
