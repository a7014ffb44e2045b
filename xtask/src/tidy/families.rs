//! A probe family has one name everywhere.

use proc_macro2::TokenTree;
use syn::{Expr, Fields, Item, Lit, Member};

use super::tree::{Finding, Tree};

/// Where the kernel programs lie, one file or folder per family.
const PROGRAMS: &str = "monitoring-ebpf/src/bin/";

/// Where the configuration's struct `Sources` is, with one field per family.
const CONFIGURATION: &str = "monitoring-agent/src/config.rs";

/// The lists that are named `SOURCES`, with what an entry of theirs is.
const LISTS: [(&str, &str); 2] = [
    (
        "monitoring-agent/src/config/settings.rs",
        "the keys of its section, behind its name",
    ),
    ("monitoring-agent/src/sources/mod.rs", "how it is started"),
];

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

/// For each kernel program: shared layout, source, configuration and kernel test of its name, and
/// entries of its name in the lists.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let configured = configured(tree);
    let lists = LISTS.map(|(file, role)| (file, role, listed(tree, file)));
    let mut findings = Vec::new();
    for program in tree.paths() {
        let name = program
            .strip_prefix(PROGRAMS)
            .and_then(|name| name.strip_suffix(".rs"));
        // One that grew is a folder with a `main.rs`; the other files in it are its modules.
        let family = name.map(|name| name.strip_suffix("/main").unwrap_or(name));
        let Some(family) = family.filter(|name| !name.contains('/')) else {
            continue;
        };
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
        for (file, role, families) in &lists {
            if !families.iter().any(|listed| listed == family) {
                let what = format!("family `{family}` is not in `SOURCES`, {file}: add {role}");
                findings.push(Finding::new(program, 1, what));
            }
        }
    }
    findings
}

/// The families in a file's constant `SOURCES`: a slice of macro calls whose first word is the
/// name, of structs with a field `name`, or of tuples that begin with the name.
fn listed(tree: &Tree, file: &str) -> Vec<String> {
    let text = tree.text(file).unwrap_or_default();
    let items = syn::parse_file(text)
        .map(|file| file.items)
        .unwrap_or_default();
    let list = items.into_iter().find_map(|item| match item {
        Item::Const(item) if item.ident == "SOURCES" => Some(*item.expr),
        _ => None,
    });
    let Some(Expr::Reference(list)) = list else {
        return Vec::new();
    };
    let Expr::Array(entries) = *list.expr else {
        return Vec::new();
    };
    entries.elems.iter().filter_map(name).collect()
}

/// The name in an entry of such a list.
fn name(entry: &Expr) -> Option<String> {
    let name = match entry {
        Expr::Macro(call) => {
            return match call.mac.tokens.clone().into_iter().next()? {
                TokenTree::Ident(name) => Some(name.to_string()),
                _ => None,
            };
        }
        Expr::Struct(entry) => {
            let is_name =
                |member: &Member| matches!(member, Member::Named(field) if field == "name");
            let field = entry.fields.iter().find(|field| is_name(&field.member));
            &field?.expr
        }
        Expr::Tuple(entry) => entry.elems.first()?,
        _ => return None,
    };
    match name {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(name) => Some(name.value()),
            _ => None,
        },
        _ => None,
    }
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

    const PROGRAM: &str = "monitoring-ebpf/src/bin/disk.rs";

    /// All that belongs to a family.
    const WHOLE: [(&str, &str); 7] = [
        (PROGRAM, ""),
        ("monitoring-common/src/disk.rs", ""),
        ("monitoring-agent/src/sources/disk.rs", ""),
        ("monitoring-agent/tests/kernel/disk.rs", ""),
        (CONFIGURATION, "pub struct Sources { pub disk: Disk }"),
        (
            LISTS[0].0,
            "const SOURCES: &[(&str, &[Setting])] = &[switches!(host: a), (\"disk\", DISK)];",
        ),
        (
            LISTS[1].0,
            r#"pub const SOURCES: &[Entry] = &[Entry { start: f, name: "disk" }];"#,
        ),
    ];

    #[test]
    fn a_family_is_complete() {
        expect(&check(&Tree::of(&WHOLE)), &[]);
        for absent in 1..WHOLE.len() {
            let mut files = WHOLE.to_vec();
            files.remove(absent);
            expect(
                &check(&Tree::of(&files)),
                &["monitoring-ebpf/src/bin/disk.rs:1"],
            );
        }
    }

    #[test]
    fn a_family_has_one_name() {
        let case = |at: usize, text: &str| {
            let mut files = WHOLE;
            files[at].1 = text;
            expect(
                &check(&Tree::of(&files)),
                &["monitoring-ebpf/src/bin/disk.rs:1"],
            );
        };
        case(
            4,
            "pub struct Sources { pub disks: Disk } pub struct Other { disk: u8 }",
        );
        case(5, "const SOURCES: &[S] = &[switches!(disks: disk)];");
        case(5, "const OTHERS: &[S] = &[switches!(disk: enabled)];");
        case(5, "const SOURCES: &[S] = disk;");
        case(
            6,
            r#"const SOURCES: &[E] = &[E { name: "disks", other: "disk" }];"#,
        );
        case(
            6,
            "const SOURCES: &[E] = &[E { name: disk }, disk(), disk];",
        );
    }
}
