//! The proof that a route works: a kernel program of one line, built the way the agent's build
//! script builds the real ones.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{Route, TARGET};
use crate::command::{command, find, run};

const MANIFEST: &str = r#"[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[workspace]
"#;

const PROGRAM: &str = r#"//! Proves that kernel programs can be built here.
#![no_std]
#![no_main]

#[unsafe(no_mangle)]
#[unsafe(link_section = "socket")]
pub extern "C" fn probe(_context: *mut u8) -> i32 {
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
"#;

/// `EM_BPF`, at byte 18 of an ELF file: the object is for the kernel's virtual machine.
const MACHINE: (usize, u8) = (18, 247);

/// Builds the program and looks at the result.
pub(super) fn compile(root: &Path, route: &Route) -> Result<()> {
    let folder = root.join(".tools/probe");
    // What another compiler left must not stand in for the result.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("src")).context("create .tools/probe")?;
    fs::write(folder.join("Cargo.toml"), MANIFEST).context("write the trial program")?;
    fs::write(folder.join("src/main.rs"), PROGRAM).context("write the trial program")?;
    run(&mut build(&folder, route))?;
    let object = folder.join("target").join(TARGET).join("release/probe");
    let bytes = fs::read(&object).with_context(|| format!("read {}", object.display()))?;
    let (offset, machine) = MACHINE;
    if bytes.get(offset) != Some(&machine) {
        bail!("{} is no kernel program", object.display());
    }
    Ok(())
}

fn build(folder: &Path, route: &Route) -> Command {
    let mut build = if find("rustup").is_some() {
        command(folder, "rustup", &["run", route.toolchain, "cargo"])
    } else {
        command(folder, "cargo", &[])
    };
    build.args([
        "build",
        "--quiet",
        "--release",
        "--target",
        TARGET,
        "--target-dir",
        "target",
    ]);
    match route.bootstrap {
        Some(crates) => build.env("RUSTC_BOOTSTRAP", crates),
        None => build
            .env_remove("RUSTC_BOOTSTRAP")
            .args(["-Z", "build-std=core"]),
    };
    build.env(
        "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER",
        route.linker.join("bpf-linker"),
    );
    build.env(
        "CARGO_ENCODED_RUSTFLAGS",
        "-Cdebuginfo=2\u{1f}-Clink-arg=--btf",
    );
    build
        .env_remove("RUSTC")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    build
}
