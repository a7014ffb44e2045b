//! Made-up processes, and real ones.

mod made_up;
mod real;
mod told;

use std::{fs, path::Path, process::Command};

use super::*;

/// What stands for CUDA's libraries.
const RUNTIME: &str = "int cudaLaunchKernel(void) { return 0; }\n";
const DRIVER: &str = "int cuLaunchKernel(void) { return 0; }\n";

/// Compiles a file.
fn build(source: &str, flags: &[&str], to: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("a.c");
    fs::write(&from, source).unwrap();
    let status = Command::new("cc")
        .arg(&from)
        .args(flags)
        .arg("-o")
        .arg(to)
        .status()
        .expect("a C compiler: install gcc");
    assert!(status.success());
}

fn library(source: &str, to: &Path) {
    build(source, &["-shared", "-fPIC"], to);
}

/// What the caller does with what was found, successfully.
fn accept(discovery: &mut Discovery, look: &Look) {
    for found in &look.found {
        assert!(!found.points.is_empty());
        discovery.probed(found.key, Ok(()));
    }
}

fn coverage(discovery: &Discovery, pid: u32) -> Option<Coverage> {
    let mut all = discovery.processes();
    all.find_map(|(each, coverage)| (each == pid).then_some(coverage))
}

fn users(discovery: &Discovery, key: FileKey) -> Vec<u32> {
    let mut users: Vec<_> = discovery.users(key).collect();
    users.sort_unstable();
    users
}
