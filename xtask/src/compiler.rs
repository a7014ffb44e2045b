//! The compiler of everything but the kernel programs: what it must bring for the checks, and how
//! far its warnings count.

use std::{path::Path, time::Duration};

use anyhow::{Result, bail};

use crate::{
    bounded::run_within,
    command::{command, find, read},
};

/// The oldest compiler that the workspace is for, and the one whose lints it follows.
const OURS: &str = env!("CARGO_PKG_RUST_VERSION");

/// A component is some megabytes; a download that stands still is given up.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);

/// What the checks need: the subcommand of cargo, rustup's name of the component, and the Debian
/// package that brings it.
const COMPONENTS: [(&str, &str, &str); 2] = [
    ("fmt", "rustfmt", "rustfmt"),
    ("clippy", "clippy", "rust-clippy"),
];

/// Makes sure that rustfmt and Clippy are here. rustup's minimal profile lacks them.
pub(crate) fn components(root: &Path) -> Result<()> {
    let is_here = |subcommand: &str| {
        let arguments = [subcommand, "--version"];
        read(&mut command(root, "cargo", &arguments)).is_ok()
    };
    let all_here = || {
        COMPONENTS
            .iter()
            .all(|(subcommand, ..)| is_here(subcommand))
    };
    if all_here() {
        println!("setup: rustfmt and Clippy are here");
        return Ok(());
    }
    let names = COMPONENTS.map(|(_, component, _)| component);
    let packages = COMPONENTS.map(|(.., package)| package);
    println!("setup: the checks need {}", names.join(", "));
    let mut reason = String::new();
    if find("rustup").is_some() {
        let mut add = command(root, "rustup", &["component", "add"]);
        if let Err(error) = run_within(DOWNLOAD_LIMIT, add.args(names)) {
            reason = format!(" ({error:#})");
        } else if all_here() {
            return Ok(());
        }
    }
    bail!(
        "`cargo fmt` or `cargo clippy` is missing{reason}; please install them: with rustup, \
         rustup component add {}; on Debian, as root: apt-get install {}",
        names.join(" "),
        packages.join(" ")
    )
}

/// What Clippy is told of warnings. A later compiler may know lints that nobody here has seen.
pub(crate) fn lint_level(root: &Path) -> Result<&'static [&'static str]> {
    let version = read(&mut command(root, "rustc", &["--version"]))?;
    let level = level(&version);
    if level.is_empty() {
        println!("note: this is {version}; warnings are errors with {OURS} only");
    }
    Ok(level)
}

fn level(version: &str) -> &'static [&'static str] {
    if minor(version) == minor(OURS) {
        &["-D", "warnings"]
    } else {
        &[]
    }
}

/// The second number of the first version in a text: 97 of `rustc 1.97.0-nightly`.
pub(crate) fn minor(text: &str) -> u32 {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|word| !word.is_empty());
    numbers
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(minor("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)"), 97);
        assert_eq!(minor("1.95"), 95);
        assert_eq!(minor(""), 0);
    }

    #[test]
    fn warnings_are_errors_with_our_compiler_only() {
        let check = |version: &str, denies: bool| {
            assert_eq!(!level(version).is_empty(), denies, "{version}");
        };
        let ours = minor(OURS);
        check(&format!("rustc 1.{ours}.0 (59807616e 2026-04-14)"), true);
        check(&format!("rustc 1.{ours}.1"), true);
        check(&format!("rustc 1.{}.0", ours + 1), false);
        check(&format!("rustc 1.{}.0", ours - 1), false);
    }
}
