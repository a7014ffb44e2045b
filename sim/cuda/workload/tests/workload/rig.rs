//! A folder with the stand-ins, and one run of the workload in it.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output, Stdio},
};

use cuda_sim::{Calls, Counts};
use serde::Deserialize;
use tempfile::TempDir;

/// What the workload says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    pub(crate) pid: u32,
    pub(crate) work_ns: u64,
    pub(crate) calls: BTreeMap<String, Calls>,
    pub(crate) launches: BTreeMap<String, u64>,
    pub(crate) copied_bytes: BTreeMap<String, u64>,
    pub(crate) allocated_bytes: u64,
    pub(crate) freed_bytes: u64,
}

/// A run that is over.
pub(crate) struct Run {
    pub(crate) said: Said,
    libraries: Vec<Counts>,
}

impl Run {
    /// What a library counted.
    pub(crate) fn library(&self, name: &str) -> &BTreeMap<String, Calls> {
        let library = self
            .libraries
            .iter()
            .find(|library| library.library == name);
        let library = library.unwrap_or_else(|| panic!("{name} was not called"));
        assert_eq!(library.pid, self.said.pid);
        &library.calls
    }

    /// How many libraries were called.
    pub(crate) fn libraries(&self) -> usize {
        self.libraries.len()
    }
}

/// The program, in a folder with the stand-ins.
pub(crate) fn program(arguments: &[&str], variables: &[(&str, &str)]) -> (TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_cuda-workload"));
    program.args(arguments).envs(variables.iter().copied());
    program.env("LD_LIBRARY_PATH", folder.path());
    program.env("CUDA_SIM_COUNTS", folder.path().join("counts"));
    program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (folder, program)
}

/// Runs the workload, which has to succeed.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let (folder, mut program) = program(arguments, variables);
    let output = program.output().unwrap();
    finished(folder.path(), &output)
}

/// What came of a run.
pub(crate) fn finished(folder: &Path, output: &Output) -> Run {
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stdout);
    let report = lines.lines().find(|line| line.starts_with('{')).unwrap();
    Run {
        said: serde_json::from_str(report).unwrap(),
        libraries: cuda_sim::read_counts(&folder.join("counts")).unwrap(),
    }
}
