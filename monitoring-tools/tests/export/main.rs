//! `metrics-export` as a program: what it prints, writes and returns.

mod direct;
mod failures;
mod formats;

#[path = "../stand_in/mod.rs"]
mod stand_in;

use std::{
    path::Path,
    process::{Command, Output},
};

/// The program.
const EXPORT: &str = env!("CARGO_BIN_EXE_metrics-export");

fn export(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(EXPORT);
    let output = command.current_dir(folder).args(arguments).output();
    output.expect("the program was built and runs")
}

/// What it prints, if all is well.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = export(Path::new("."), arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complains of, with its exit code.
#[track_caller]
fn complaint(arguments: &[&str]) -> (Option<i32>, String) {
    let output = export(Path::new("."), arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"", "{arguments:?}");
    (output.status.code(), errors)
}
