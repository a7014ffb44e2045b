//! Builds programs with NVIDIA's own compiler, as their users do. Knows nothing of what they are for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where `cargo xtask setup` puts the compiler, in a folder of its version.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/cuda");

/// The compiler that `cargo xtask setup` keeps.
fn nvcc() -> PathBuf {
    let folders = fs::read_dir(KEPT).into_iter().flatten();
    let mut files = folders.map(|folder| folder.unwrap().path().join("bin/nvcc"));
    files.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!(
            "this test compiles a program with NVIDIA's nvcc, which `cargo xtask setup` puts \
             below {KEPT}: there is none"
        )
    })
}

/// Compiles a program.
pub(super) fn compile(source: &Path, program: &Path, flags: &[&str]) {
    let mut compiler = Command::new(nvcc());
    compiler.args(flags).arg("-o").arg(program).arg(source);
    let output = compiler.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{compiler:?}, which needs g++ (package g++): {said}"
    );
}

/// The folder of the compiler's runtime library, with which programs run that have none in them.
#[allow(dead_code, reason = "the agent suite has copies, and stand-ins")]
pub(super) fn libraries() -> PathBuf {
    nvcc().with_file_name("../lib")
}
