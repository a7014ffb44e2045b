//! Programs that NVIDIA's compiler has built: each of their kernels has its name, also where they
//! are stripped and were there before the agent. On NVIDIA's own runtime, whose calls fail without a
//! driver but are made, and on the stand-ins, where they succeed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    compiler,
    names::strip,
    rig::{
        Program, agent, install_runtime, known, launches_by_name, metrics, nothing_lost, number,
        seen,
    },
};
use crate::{
    poll::poll_until,
    process::{Agent, value},
};

/// How programs are built: as nvcc does it by itself, as they are shipped, with device code that is
/// linked, and at fixed addresses.
const BUILDS: [(&str, &[&str]); 4] = [
    ("plain", &[]),
    ("optimized", &["-O3", "-Xcompiler=-O3"]),
    ("linked", &["-O2", "-rdc=true"]),
    ("fixed", &["-O2", "-Xcompiler=-fno-pie", "-Xlinker=-no-pie"]),
];

/// The runtime that programs of this compiler look for.
const RUNTIME: &str = "libcudart.so.13";

/// A folder with programs and the libraries that they run with.
struct Programs {
    folder: TempDir,
    files: Vec<PathBuf>,
}

impl Programs {
    /// Of each build one with its symbols and one without.
    fn build(runtime: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = source.join("tests/agent/cuda/nvcc/kernels.cu");
        let mut files = Vec::new();
        // The stand-ins read no compressed device code.
        let more = ["-no-compress", "-cudart", runtime];
        for (name, flags) in BUILDS {
            let program = folder.path().join(name);
            compiler::compile(&source, &program, &[flags, &more].concat());
            let stripped = folder.path().join(format!("{name}-stripped"));
            fs::copy(&program, &stripped).unwrap();
            strip(&stripped);
            files.extend([program, stripped]);
        }
        Self { folder, files }
    }

    fn with_real_runtime(self) -> Self {
        install_runtime(RUNTIME, self.folder.path());
        self
    }

    fn with_stand_ins(self) -> Self {
        let libraries = cuda_sim::install(self.folder.path()).unwrap();
        fs::rename(libraries.runtime, self.folder.path().join(RUNTIME)).unwrap();
        self
    }

    fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
        self.files.retain(|file| wanted(&name(file)));
        self
    }

    /// Starts them all, up to where they wait; each has launched its kernels so many times.
    fn start(&self, before: u32) -> Vec<Program> {
        let files = self.files.iter();
        files
            .map(|file| start(self.folder.path(), file, before))
            .collect()
    }
}

fn command(file: &Path, before: u32) -> Command {
    let mut command = Command::new(file);
    command.arg(before.to_string());
    command
}

fn start(folder: &Path, file: &Path, before: u32) -> Program {
    let mut program = Program::start(folder, &mut command(file, before));
    program.line("Start");
    program
}

/// Has programs do their work, all of which is to be counted by the kernels' names.
fn work(agent: &Agent, mut programs: Vec<Program>) {
    known(agent);
    let mut theirs: BTreeMap<String, f64> = BTreeMap::new();
    for program in &mut programs {
        program.go_on();
        let said = program.report();
        for (name, launches) in said["launches"].as_object().unwrap() {
            *theirs.entry(name.clone()).or_default() += number(launches);
        }
    }
    let metrics = metrics(agent);
    assert_eq!(launches_by_name(&metrics), theirs);
    nothing_lost(&metrics);
    for program in &mut programs {
        program.go_on();
        program.ends_well();
    }
}

/// Waits until so many processes of the workload are seen in a state.
fn all_seen(agent: &Agent, state: &str, programs: &[Program]) {
    let sample = format!("cuda_probe_coverage{{agent=\"workload\",state=\"{state}\"}}");
    let count = f64::from(u32::try_from(programs.len()).unwrap());
    poll_until("all programs are seen", || {
        (value(&agent.fresh_metrics(), &sample)? > count - 0.5).then_some(())
    });
}

fn programs_from_before_the_agent(programs: &Programs, state: &str, before: u32) {
    let running = programs.start(before);
    let agent = agent(programs.folder.path());
    all_seen(&agent, state, &running);
    work(&agent, running);
}

#[test]
fn programs_of_nvcc_from_before_the_agent_are_named() {
    let programs = Programs::build("shared").with_real_runtime();
    programs_from_before_the_agent(&programs, "attached", 0);
}

/// They launch by handles of kernels, for which they have asked before.
#[test]
fn handles_from_before_the_agent_are_named_by_the_variables_that_have_them() {
    let programs = Programs::build("shared").with_stand_ins();
    programs_from_before_the_agent(&programs, "attached", 2);
}

#[test]
fn programs_of_nvcc_are_named_by_what_they_register() {
    let build = || Programs::build("shared");
    for programs in [build().with_real_runtime(), build().with_stand_ins()] {
        let folder = programs.folder.path();
        let agent = agent(folder);
        let mut first = Program::start_forerunner(folder, &mut command(&programs.files[0], 1));
        first.line("Start");
        seen(&agent, "forerunner", "attached");
        work(&agent, programs.start(0));
    }
}

/// The runtime in them finds the stand-in of the driver, and makes no launch with it.
#[test]
fn programs_of_nvcc_with_the_runtime_in_them_are_named() {
    let with_symbols = |name: &str| !name.ends_with("-stripped");
    let programs = Programs::build("static")
        .with_stand_ins()
        .only(with_symbols);
    programs_from_before_the_agent(&programs, "static", 1);
    let folder = programs.folder.path();
    let agent = agent(folder);
    let mut forerunners = Vec::new();
    for (number, file) in programs.files.iter().enumerate() {
        let mut first = Program::start_forerunner(folder, &mut command(file, 1));
        first.line("Start");
        forerunners.push(first);
        let sample = "cuda_probe_coverage{agent=\"forerunner\",state=\"static\"}";
        poll_until("the forerunner is seen", || {
            let seen = value(&agent.fresh_metrics(), sample)?;
            (seen > number as f64 + 0.5).then_some(())
        });
    }
    work(&agent, programs.start(0));
}

/// Nothing says where the runtime is in them. What they call of the driver has no kernels: their
/// runtime gives up before it launches any.
#[test]
fn stripped_programs_of_nvcc_with_the_runtime_in_them_are_said_to_be_so() {
    let stripped = |name: &str| name.ends_with("-stripped");
    let programs = Programs::build("static").with_stand_ins().only(stripped);
    let mut running = programs.start(1);
    let agent = agent(programs.folder.path());
    all_seen(&agent, "stripped", &running);
    for program in &mut running {
        program.go_on();
        program.report();
    }
    assert_eq!(launches_by_name(&metrics(&agent)), BTreeMap::new());
}
