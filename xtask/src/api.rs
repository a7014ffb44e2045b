//! `cargo xtask api`: what the library `monitoring` offers to other crates, written down item by
//! item, so that no change of it goes unseen.
//!
//! Rustdoc tells it as JSON, which it does only when told to allow what is not stable yet, and in
//! a form that changes with the compiler: so only one compiler's is compared.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::command::{command, read, run};

/// Where the list lies.
const LIST: &str = "monitoring/public-api.txt";

/// The compiler whose JSON is of the form that the crate `public-api` reads, in the version that
/// this tool uses.
const COMPILER: &str = "rustc 1.95.";

/// Runs rustdoc alone with what is not stable. With the variable for all of cargo, everything that
/// the library depends on would be built once more.
const RUSTDOC: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";

/// Traits that are implemented for nearly everything, and whose absence nobody builds on.
const EVERYWHERE: [&str; 5] = [
    "core::marker::Freeze",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// Writes the list anew.
pub(crate) fn write(root: &Path) -> Result<()> {
    let items = items(root)?;
    fs::write(root.join(LIST), items).with_context(|| format!("write {LIST}"))?;
    println!("wrote {LIST}");
    Ok(())
}

/// Whether this machine's compiler can tell.
pub(crate) fn can_be_told(root: &Path) -> Result<bool> {
    let version = read(&mut command(root, "rustc", &["--version"]))?;
    Ok(version.starts_with(COMPILER))
}

/// Whether the list is still right.
pub(crate) fn check(root: &Path) -> Result<()> {
    let items = items(root)?;
    let listed = fs::read_to_string(root.join(LIST)).unwrap_or_default();
    let changes = changes(&listed, &items);
    for change in &changes {
        println!("{change}");
    }
    match changes.len() {
        0 => Ok(()),
        count => bail!("{count} lines changed, see above: if they are meant, `cargo xtask api`"),
    }
}

/// Lines that are gone, and lines that are new.
fn changes(listed: &str, items: &str) -> Vec<String> {
    let [listed, items] = [listed, items].map(|text| text.lines().collect::<BTreeSet<_>>());
    let gone = listed.difference(&items).map(|line| format!("- {line}"));
    let new = items.difference(&listed).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// The list as it is now.
fn items(root: &Path) -> Result<String> {
    let api = public_api::Builder::from_rustdoc_json(rustdoc(root)?)
        .omit_blanket_impls(true)
        .build()
        .context("read rustdoc's JSON")?;
    let items = api.items().map(ToString::to_string);
    let mut lines: Vec<String> = items.filter(|item| !is_everywhere(item)).collect();
    // The last line ends, too.
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Whether an item is an implementation of a trait that nearly all types have.
fn is_everywhere(item: &str) -> bool {
    let is_impl = item.starts_with("impl");
    let of_trait = |name: &&str| item.contains(&format!("{name} for "));
    is_impl && EVERYWHERE.iter().any(of_trait)
}

/// Has rustdoc describe the library with all of its features; the file with what it says.
fn rustdoc(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/public-api");
    fs::create_dir_all(&folder).context("create a folder for rustdoc")?;
    let program = folder.join("rustdoc");
    fs::write(&program, RUSTDOC).context("write a program for rustdoc")?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&program, executable).context("make it executable")?;
    let arguments = [
        "rustdoc",
        "--quiet",
        "--package",
        "monitoring",
        "--lib",
        "--all-features",
    ];
    let target = root.join("target");
    let told = target.join("doc/monitoring.json");
    // What an earlier run told must not pass for what this one does.
    match fs::remove_file(&told) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", told.display()));
        }
        _ => {}
    }
    let mut cargo = command(root, "cargo", &arguments);
    // Wherever cargo's configuration has it: the file is looked for here.
    cargo.arg("--target-dir").arg(&target).arg("--");
    cargo.args(["-Z", "unstable-options", "--output-format", "json"]);
    // What it has to say of the documentation, it says elsewhere.
    cargo.args(["--cap-lints", "allow"]);
    run(cargo.env("RUSTDOC", &program))?;
    if !told.is_file() {
        bail!("rustdoc did not write {}", told.display());
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_gone_and_what_is_new() {
        let check = |listed, items, want: &[&str]| assert_eq!(changes(listed, items), want);
        check("", "", &[]);
        check("a\nb\n", "a\nb\n", &[]);
        check("a\nb\n", "b\nc\n", &["- a", "+ c"]);
        check("", "a\n", &["+ a"]);
    }

    #[test]
    fn leaves_out_what_nearly_all_types_have() {
        let check = |item, want| assert_eq!(is_everywhere(item), want, "{item}");
        check("impl core::marker::Unpin for monitoring::Counter", true);
        check(
            "impl<T> core::marker::Freeze for monitoring::Family<T>",
            true,
        );
        check("impl core::marker::Send for monitoring::Counter", false);
        check(
            "impl !core::marker::Send for monitoring::ProfileScope",
            false,
        );
        check("pub struct monitoring::Counter", false);
    }
}
