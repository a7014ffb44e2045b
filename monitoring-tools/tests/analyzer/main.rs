//! `profile-analyzer` as a program: what it prints, writes and returns.

mod go;
mod pprof_agrees;
mod usage;

use std::{
    path::Path,
    process::{Command, Output},
};

/// The program, which sees nothing of the environment that would change its output.
fn analyzer(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_profile-analyzer"));
    command.current_dir(folder).args(arguments);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the program was built and runs")
}

/// What it prints, if all is well.
#[track_caller]
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = output(&mut analyzer(folder, arguments));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complains of, with its exit code.
fn complaint(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = output(&mut analyzer(folder, arguments));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"", "{arguments:?}");
    (output.status.code(), errors)
}
