//! Calls into the real CUDA libraries on a real GPU, counted exactly: the truth is what the programs
//! say of themselves, and what `PyTorch`'s profiler, which uses NVIDIA's own CUPTI, has seen of them.
//!
//! Needs a GPU of the Ampere generation or later, a driver for CUDA 13, root, g++, and what
//! `cargo xtask setup` fetches: NVIDIA's runtimes, and their compiler. Without one of them tests fail
//! and say so. Only `PyTorch` is compared with where it is: elsewhere that test says that it is not
//! installed, and that nothing ran.

#[path = "../agent/cuda/compiler.rs"]
mod compiler;
#[path = "../poll/mod.rs"]
mod poll;
#[allow(dead_code, reason = "the agent suite has more to start")]
#[path = "../agent/process.rs"]
mod process;
#[allow(dead_code, reason = "the agent suite compares more")]
#[path = "../agent/cuda/rig.rs"]
mod rig;
#[allow(dead_code, reason = "the agent suite asks more of what runs")]
#[path = "../running/mod.rs"]
mod running;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use rig::{
    ARGUMENTS, Program, agent, compare, compare_cudarc, compare_names, install_runtime, known,
    metrics, name_of, nothing_lost, number, same, seen, wait_for_line,
};
use serde_json::Value;

/// The test that may be the stand-ins' workload instead, which calls any library that it is told.
const WORKLOAD: &str = "gpu_calls_of_the_driver";

/// The test that is a program of `cudarc` where the variable says so.
const CUDARC: &str = "gpu_an_unmodified_program_of_cudarc";
const WORK: &str = "CUDARC_THREADS_AND_LAUNCHES";

/// What the workload does beside launching.
const MORE: &str = "--threads 8 --launches 100000 --streams 2 --malloc-pairs 1000 --copies 1000 \
                    --graph 100 --errors 100 --wait end";

/// What NVIDIA's driver makes when it is loaded.
const DRIVER: &str = "/dev/nvidiactl";

/// A folder of the test's own. Fails where there is no GPU.
fn folder() -> tempfile::TempDir {
    assert!(
        Path::new(DRIVER).exists(),
        "this suite needs a GPU and NVIDIA's driver: there is no {DRIVER}"
    );
    tempfile::tempdir().unwrap()
}

/// Has the workload call a library, and compares all there is.
fn workload(api: &str, folder: &Path, arguments: &str) {
    let agent = agent(folder);
    let _first = Program::forerunner(folder, &agent, &format!("--api {api} {arguments}"));
    let mut program =
        Program::known_workload(folder, &agent, &format!("--api {api} {arguments} {MORE}"));
    let said = program.report();
    let metrics = metrics(&agent);
    println!("{said}");
    compare(&metrics, &said, api);
    compare_names(&metrics, &said, name_of);
    program.go_on();
    program.ends_well();
}

#[test]
fn gpu_calls_of_the_driver() {
    if let Ok(arguments) = env::var(ARGUMENTS) {
        return cuda_sim_workload::main_with(arguments.split_ascii_whitespace()).unwrap();
    }
    for how in ["", "--handles"] {
        workload("driver", folder().path(), how);
    }
}

/// With a driver that is too old for it, the runtime's calls fail, and are counted all the same.
#[test]
fn gpu_calls_of_the_runtimes() {
    for (library, how) in [
        ("libcudart.so.12", ""),
        ("libcudart.so.13", ""),
        ("libcudart.so.13", "--stubs"),
    ] {
        let folder = folder();
        let library = install_runtime(library, folder.path());
        let arguments = format!("--library {} {how}", library.display());
        workload("runtime", folder.path(), &arguments);
    }
}

#[test]
fn gpu_an_unmodified_program_of_cudarc() {
    if let Ok(work) = env::var(WORK) {
        wait_for_line();
        let (threads, launches) = work.split_once(' ').unwrap();
        return cuda_sim_cudarc::run(threads.parse().unwrap(), launches.parse().unwrap()).unwrap();
    }
    let folder = folder();
    let agent = agent(folder.path());
    let _first = Program::forerunner(folder.path(), &agent, "--api driver");
    let mut program = Program::of_test(folder.path(), CUDARC, &[(WORK, "8 10000")]);
    program.line("Start");
    known(&agent);
    program.go_on();
    program.line("done");
    program.ends_well();
    compare_cudarc(&metrics(&agent), 8 * 10_000);
}

/// A file beside this one.
fn source(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/gpu_required_cuda").join(name)
}

/// For every GPU by its own code: what the driver compiles may be for later drivers only.
const FOR_ALL: [&str; 1] = ["-arch=all-major"];

#[test]
fn gpu_a_program_of_nvcc() {
    let folder = folder();
    // The runtime is in the program, as it is by default, or beside it.
    for (runtime, state) in [("static", "static"), ("shared", "attached")] {
        let path = folder.path().join(runtime);
        let flags = [&FOR_ALL[..], &["-cudart", runtime]].concat();
        compiler::compile(&source("program.cu"), &path, &flags);
        let libraries = compiler::libraries();
        let agent = agent(folder.path());
        let mut first = Program::start_forerunner(&libraries, &mut Command::new(&path));
        first.line("Loaded");
        seen(&agent, "forerunner", state);
        let mut program = Program::start(&libraries, &mut Command::new(&path));
        program.line("Loaded");
        known(&agent);
        program.go_on();
        let said = program.report();
        let metrics = metrics(&agent);
        println!("{said}");
        compare(&metrics, &said, "runtime");
        compare_names(&metrics, &said, str::to_owned);
        program.go_on();
        program.ends_well();
    }
}

/// Nobody has seen what it registers, and which handles it has of its kernels.
#[test]
fn gpu_a_stripped_program_of_nvcc_from_before_the_agent() {
    let folder = folder();
    let path = folder.path().join("kernels");
    let flags = [&FOR_ALL[..], &["-cudart", "shared", "-Xlinker=-s"]].concat();
    let kernels = source("../agent/cuda/nvcc/kernels.cu");
    compiler::compile(&kernels, &path, &flags);
    let mut command = Command::new(&path);
    let mut program = Program::start(&compiler::libraries(), command.arg("3"));
    program.line("Start");
    let agent = agent(folder.path());
    seen(&agent, "workload", "attached");
    known(&agent);
    program.go_on();
    let said = program.report();
    println!("{said}");
    same("error", number(&said["code"]), 0.0);
    let metrics = metrics(&agent);
    compare_names(&metrics, &said, str::to_owned);
    nothing_lost(&metrics);
    program.go_on();
    program.ends_well();
}

/// Calls of the workload so far.
fn calls(metrics: &str, call: &str) -> f64 {
    let label = format!("agent=\"workload\",api=\"runtime\",call=\"{call}\"");
    process::sum(metrics, "cuda_call_duration_seconds_count", &label)
}

#[test]
fn gpu_what_the_profiler_of_pytorch_has_seen() {
    let folder = folder();
    let python = env::var("MONITORING_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut has_torch = Command::new(&python);
    has_torch.args(["-c", "import torch; assert torch.cuda.is_available()"]);
    if !has_torch.status().is_ok_and(|status| status.success()) {
        println!(
            "NOTHING RAN: PyTorch is not installed, or not one that can use this GPU, for {python}; \
             MONITORING_TEST_PYTHON may name another Python"
        );
        return;
    }
    let agent = agent(folder.path());
    let mut command = Command::new(&python);
    let mut program = Program::start(folder.path(), command.arg(source("profiled.py")));
    program.line("Loaded");
    seen(&agent, "workload", "attached");
    let before = metrics(&agent);
    program.go_on();
    let said: Value = program.report();
    let after = metrics(&agent);
    println!("{said}");
    let theirs = said["calls"].as_object().unwrap();
    for call in ["cudaLaunchKernel", "cudaLaunchKernelExC", "cudaMemcpyAsync"] {
        let theirs = theirs.get(call).map_or(0.0, number);
        same(call, calls(&after, call) - calls(&before, call), theirs);
    }
    assert!(number(&theirs["cudaLaunchKernel"]) > 1000.0, "{theirs:?}");
    nothing_lost(&after);
    program.go_on();
    program.ends_well();
}
