//! The usual route: rustup's nightly compiler, which builds `core` from `rust-src`.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{Route, linker};
use crate::{
    bounded::run_within,
    command::{command, find as program, read},
    compiler::minor,
};

/// Name of the toolchain for rustup.
pub(super) const TOOLCHAIN: &str = "nightly";

/// A download that stands still is given up, because there is another route.
const COMPONENT_LIMIT: Duration = Duration::from_mins(2);
const TOOLCHAIN_LIMIT: Duration = Duration::from_mins(10);

/// The route as it is installed.
pub(super) fn find(root: &Path) -> Result<Route> {
    let version = version(root)?;
    let minimum = env!("CARGO_PKG_RUST_VERSION");
    if minor(&version) < minor(minimum) {
        bail!("{version} is older than the {minimum} that the workspace needs; rustup update it");
    }
    if !has_source(root)? {
        bail!("its component rust-src is missing");
    }
    let linker = linker::on_path(root).or_else(|_| linker::of_workspace(root))?;
    Ok(Route {
        toolchain: TOOLCHAIN,
        bootstrap: None,
        versions: format!("{version}; {}", linker.version),
        linker: linker.folder,
    })
}

/// Installs what is missing of compiler, `rust-src` and linker, in this order.
pub(super) fn install(root: &Path) -> Result<()> {
    if program("rustup").is_none() {
        bail!("there is no rustup");
    }
    if version(root).is_err() {
        let arguments = [
            "toolchain",
            "install",
            TOOLCHAIN,
            "--profile=minimal",
            "--component=rust-src",
        ];
        run_within(TOOLCHAIN_LIMIT, &mut command(root, "rustup", &arguments))?;
    } else if !has_source(root)? {
        let arguments = ["component", "add", "rust-src", "--toolchain", TOOLCHAIN];
        run_within(COMPONENT_LIMIT, &mut command(root, "rustup", &arguments))?;
    }
    if linker::on_path(root)
        .or_else(|_| linker::of_workspace(root))
        .is_ok()
    {
        return Ok(());
    }
    let verbose = read(&mut command(
        root,
        "rustup",
        &["run", TOOLCHAIN, "rustc", "-vV"],
    ))?;
    let llvm = llvm_major(&verbose).context("rustc does not say which LLVM it has")?;
    linker::install(root, llvm)
}

fn version(root: &Path) -> Result<String> {
    read(&mut command(
        root,
        "rustup",
        &["run", TOOLCHAIN, "rustc", "--version"],
    ))
}

fn has_source(root: &Path) -> Result<bool> {
    let sysroot = ["run", TOOLCHAIN, "rustc", "--print", "sysroot"];
    let sysroot = read(&mut command(root, "rustup", &sysroot))?;
    Ok(Path::new(&sysroot)
        .join("lib/rustlib/src/rust/library/core")
        .is_dir())
}

/// The LLVM that `rustc -vV` names.
fn llvm_major(verbose: &str) -> Option<u32> {
    let version = verbose
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(llvm_major("rustc 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0"), None);
    }
}
