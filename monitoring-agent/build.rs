//! Builds the kernel programs from source and puts their objects where `include_bytes!` finds
//! them.
//!
//! Which toolchain can build them differs from machine to machine; `cargo xtask setup` finds out
//! and writes the answer into `.tools/ebpf-toolchain`, one `key=value` a line.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain, build_ebpf};

fn main() -> Result<()> {
    let manifest = env::var("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let root = Path::new(&manifest)
        .parent()
        .context("the agent lies in the workspace")?;
    emit_revision(root);
    let route_file = root.join(".tools/ebpf-toolchain");
    println!("cargo:rerun-if-changed={}", route_file.display());
    for shared in [
        "monitoring-common/src",
        "monitoring-common/Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(shared).display());
    }
    let route = fs::read_to_string(&route_file).unwrap_or_default();
    let value = |key: &str| {
        let mut lines = route.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
    };
    if let Some(linker) = value("linker_path") {
        prepend_path(&linker)?;
    }
    if let Some(crates) = value("rustc_bootstrap") {
        // SAFETY: the build script has one thread at this point.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", crates) };
    }
    // SAFETY: the build script has one thread at this point.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    let toolchain = value("toolchain");
    let toolchain = toolchain
        .as_deref()
        .map_or(Toolchain::Nightly, Toolchain::Custom);
    let ebpf = root.join("monitoring-ebpf");
    let package = Package {
        name: "monitoring-ebpf",
        root_dir: ebpf.to_str().context("the workspace's path is not UTF-8")?,
        ..Package::default()
    };
    if let Err(error) = build_ebpf([package], toolchain) {
        bail!(
            "the kernel programs were not built: {error:#}\n\
             Run `cargo xtask setup`: it finds or installs the eBPF toolchain and says what it does."
        );
    }
    Ok(())
}

fn prepend_path(folder: &str) -> Result<()> {
    let old = env::var_os("PATH").unwrap_or_default();
    let folders = [folder.into()].into_iter().chain(env::split_paths(&old));
    let joined = env::join_paths(folders).context("PATH for the eBPF build")?;
    // SAFETY: the build script has one thread at this point.
    unsafe { env::set_var("PATH", joined) };
    Ok(())
}

/// Passes the source revision on to `monitoring_agent_build_info`.
fn emit_revision(root: &Path) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={}", root.join(log).display());
    }
    let revision = git(&["rev-parse", "--short=12", "HEAD"]);
    println!(
        "cargo:rustc-env=MONITORING_REVISION={}",
        revision.as_deref().unwrap_or("unknown")
    );
}
