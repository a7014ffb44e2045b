//! The route over Debian's packages: a stable rustc that comes with `core` for the BPF target.
//!
//! Its compiler is a stable one, so the two crates that need unstable features are named to it.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Route, TARGET, linker};
use crate::{
    command::{command, find as program, read, run},
    packages,
};

/// The name by which rustup knows the packaged compiler.
pub(super) const TOOLCHAIN: &str = "bpf";

/// The crates of the kernel programs that use unstable features. The value `1` would make the
/// build compile `core` itself, which is what this route does without.
const BOOTSTRAP: &str = "aya_ebpf,aya_log_ebpf,monitoring_ebpf";

/// The first three are the compiler; the rest builds bpf-linker against the compiler's LLVM.
pub(super) const PACKAGES: [&str; 6] = [
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
];
const COMPILER_PACKAGES: usize = 3;

/// The LLVM of `rustc-web`, and of the packages above.
const LLVM: u32 = 22;

/// The route as it is installed.
pub(super) fn find(root: &Path) -> Result<Route> {
    if !has_core(root) {
        bail!("there is no compiler with `core` for {TARGET}");
    }
    let linker = linker::of_workspace(root)?;
    let version = read(&mut rustc(root, &["--version"]))?;
    Ok(Route {
        toolchain: TOOLCHAIN,
        bootstrap: Some(BOOTSTRAP),
        versions: format!("{version}; {}", linker.version),
        linker: linker.folder,
    })
}

/// Installs the packages, makes the compiler known to rustup, and builds the linker.
pub(super) fn install(root: &Path) -> Result<()> {
    if !packages::debian() {
        bail!("this is no Debian");
    }
    let has_linker = linker::of_workspace(root).is_ok();
    let needed = if has_linker {
        &PACKAGES[..COMPILER_PACKAGES]
    } else {
        &PACKAGES[..]
    };
    let missing = packages::missing(needed);
    if !missing.is_empty() {
        packages::install(&missing, &[]).context("not every release of Debian has them")?;
    }
    if !has_core(root) && program("rustup").is_some() {
        run(&mut command(
            root,
            "rustup",
            &["toolchain", "link", TOOLCHAIN, "/usr"],
        ))?;
    }
    if has_linker {
        Ok(())
    } else {
        linker::install(root, LLVM)
    }
}

/// Without rustup, the packaged compiler is the only one.
fn rustc(root: &Path, arguments: &[&str]) -> std::process::Command {
    if program("rustup").is_none() {
        return command(root, "rustc", arguments);
    }
    let mut rustc = command(root, "rustup", &["run", TOOLCHAIN, "rustc"]);
    rustc.args(arguments);
    rustc
}

/// Whether the compiler is there and brings `core` for the BPF target.
fn has_core(root: &Path) -> bool {
    let libraries = read(&mut rustc(
        root,
        &["--print", "target-libdir", "--target", TARGET],
    ));
    libraries.is_ok_and(|folder| Path::new(&folder).is_dir())
}
