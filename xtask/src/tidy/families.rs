//! A probe family has one name everywhere.

use syn::{Fields, Item};

use super::tree::{Finding, Tree};

/// Where the kernel programs lie, one file per family.
const PROGRAMS: &str = "monitoring-ebpf/src/bin/";

/// Where the configuration's struct `Sources` is, with one field per family.
const CONFIGURATION: &str = "monitoring-agent/src/config.rs";

/// The other files of a family, with what they are.
const FILES: [(&str, &str); 3] = [
    (
        "monitoring-common/src/",
        "the layouts it shares with the agent",
    ),
    ("monitoring-agent/src/sources/", "its source in the agent"),
    (
        "monitoring-agent/tests/kernel/",
        "its test on a real kernel",
    ),
];

/// For each kernel program: shared layout, source, configuration and kernel test of its name.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let configured = configured(tree);
    let mut findings = Vec::new();
    for program in tree.paths() {
        let name = program
            .strip_prefix(PROGRAMS)
            .and_then(|name| name.strip_suffix(".rs"));
        let Some(family) = name else { continue };
        for (folder, role) in FILES {
            let file = format!("{folder}{family}.rs");
            if !tree.exists(&file) {
                let what = format!("family `{family}` lacks {file}: add {role}");
                findings.push(Finding::new(program, 1, what));
            }
        }
        if !configured.iter().any(|field| field == family) {
            let what = format!(
                "family `{family}` lacks a field of its name in `Sources`, {CONFIGURATION}: add it"
            );
            findings.push(Finding::new(program, 1, what));
        }
    }
    findings
}

/// The fields of the struct `Sources`.
fn configured(tree: &Tree) -> Vec<String> {
    let text = tree.text(CONFIGURATION).unwrap_or_default();
    let items = syn::parse_file(text)
        .map(|file| file.items)
        .unwrap_or_default();
    let fields = items.into_iter().find_map(|item| match item {
        Item::Struct(item) if item.ident == "Sources" => Some(item.fields),
        _ => None,
    });
    let Some(Fields::Named(fields)) = fields else {
        return Vec::new();
    };
    fields
        .named
        .iter()
        .filter_map(|field| Some(field.ident.as_ref()?.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    #[test]
    fn a_family_is_complete() {
        let whole = [
            ("monitoring-ebpf/src/bin/disk.rs", ""),
            ("monitoring-common/src/disk.rs", ""),
            ("monitoring-agent/src/sources/disk.rs", ""),
            ("monitoring-agent/tests/kernel/disk.rs", ""),
            (CONFIGURATION, "pub struct Sources { pub disk: Disk }"),
        ];
        expect(&check(&Tree::of(&whole)), &[]);
        for absent in 1..whole.len() {
            let mut files = whole.to_vec();
            files.remove(absent);
            expect(
                &check(&Tree::of(&files)),
                &["monitoring-ebpf/src/bin/disk.rs:1"],
            );
        }
        let mut renamed = whole;
        renamed[4].1 = "pub struct Sources { pub disks: Disk } pub struct Other { disk: u8 }";
        expect(
            &check(&Tree::of(&renamed)),
            &["monitoring-ebpf/src/bin/disk.rs:1"],
        );
    }
}
