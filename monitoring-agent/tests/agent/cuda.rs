//! Calls into CUDA, counted exactly: the truth are the counts that the programs and the libraries
//! keep themselves.

mod compiler;
mod cost;
mod discovery;
mod loading;
mod names;
mod nvcc;
mod rig;
mod runtime;

use std::{collections::BTreeMap, env, path::Path};

use tempfile::TempDir;

use self::rig::{
    ARGUMENTS, agent, compare, compare_cudarc, compare_names, known, launches_by_name, metrics,
    name_of, same, seen, wait_for_line,
};
pub(crate) use self::rig::{Program, agent as agent_of_cuda, known_as, libraries};
use crate::process::{Agent, sum};

/// The test that may be the stand-ins' workload instead.
const WORKLOAD: &str = "cuda::programs_of_the_runtime_and_of_the_driver";

/// The test that is a program of `cudarc` where the variable says how many threads and launches.
const CUDARC: &str = "cuda::an_unmodified_program_of_cudarc";
const WORK: &str = "CUDARC_THREADS_AND_LAUNCHES";

#[test]
fn programs_of_the_runtime_and_of_the_driver() {
    if let Ok(arguments) = env::var(ARGUMENTS) {
        return cuda_sim_workload::main_with(arguments.split_ascii_whitespace()).unwrap();
    }
    for api in ["runtime", "driver"] {
        let folder = tempfile::tempdir().unwrap();
        cuda_sim::install(folder.path()).unwrap();
        let agent = agent(folder.path());
        let _first = Program::forerunner(folder.path(), &agent, &format!("--api {api}"));
        let arguments = format!(
            "--api {api} --threads 4 --launches 20000 --streams 2 --malloc-pairs 2000 \
             --copies 1000 --graph 100 --errors 100 --wait end"
        );
        let mut program = Program::known_workload(folder.path(), &agent, &arguments);
        let said = program.report();
        let metrics = metrics(&agent);
        compare(&metrics, &said, api);
        compare_names(&metrics, &said, name_of);
        program.go_on();
    }
}

#[test]
fn an_unmodified_program_of_cudarc() {
    if let Ok(work) = env::var(WORK) {
        wait_for_line();
        let (threads, launches) = work.split_once(' ').unwrap();
        return cuda_sim_cudarc::run(threads.parse().unwrap(), launches.parse().unwrap()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let agent = agent(folder.path());
    let _first = Program::forerunner(folder.path(), &agent, "--api driver");
    let mut program = Program::of_test(folder.path(), CUDARC, &[(WORK, "4 2500")]);
    program.line("Start");
    known(&agent);
    program.go_on();
    program.line("done");
    program.ends_well();
    let counts = cuda_sim::read_counts(&folder.path().join("counts")).unwrap();
    let of_program = counts.iter().find(|counts| counts.pid == program.pid());
    let metrics = metrics(&agent);
    let mut calls: BTreeMap<&str, (f64, BTreeMap<u32, u64>)> = BTreeMap::new();
    for (call, counted) in &of_program.expect("the program's counts").calls {
        let name = call.trim_end_matches("_ptsz").trim_end_matches("_v2");
        let sums = calls.entry(name).or_default();
        sums.0 += counted.count as f64;
        for (code, count) in &counted.errors {
            *sums.1.entry(*code).or_default() += count;
        }
    }
    for name in [
        "cuLaunchKernel",
        "cuModuleGetFunction",
        "cuMemcpyHtoDAsync",
        "cuMemcpyDtoHAsync",
        "cuStreamSynchronize",
        "cuMemAllocAsync",
        "cuMemFreeAsync",
        "cuGraphLaunch",
        "cuModuleLoadData",
    ] {
        let label = format!("agent=\"workload\",api=\"driver\",call=\"{name}\"");
        let (count, errors) = &calls[name];
        same(
            name,
            sum(&metrics, "cuda_call_duration_seconds_count", &label),
            *count,
        );
        for (code, count) in errors {
            let label = format!("agent=\"workload\",call=\"{name}\",code=\"{code}\"");
            same(
                &label,
                sum(&metrics, "cuda_errors_total", &label),
                *count as f64,
            );
        }
    }
    same(
        "launches",
        launches_by_name(&metrics).values().sum(),
        calls["cuLaunchKernel"].0,
    );
    compare_cudarc(&metrics, 4 * 2500);
}

/// What makes the workload do something of everything that is counted.
const EVERYTHING: &str =
    "--api runtime --launches 10 --copies 10 --malloc-pairs 10 --graph 1 --errors 1";

/// A program that has done something of everything that is counted, still holds memory, and runs as
/// long as it is kept; with its libraries.
pub(crate) fn known_work(agent: &Agent) -> (Program, TempDir) {
    known_work_of(agent, "other")
}

/// The same, where its process counts for this agent.
pub(crate) fn known_work_of(agent: &Agent, name: &str) -> (Program, TempDir) {
    let folder = libraries();
    let arguments = format!("{EVERYTHING} --wait loaded --wait end");
    let mut program = Program::workload(folder.path(), &arguments);
    program.line("Loaded");
    seen(agent, name, "attached");
    program.go_on();
    program.line("End");
    (program, folder)
}

/// What a program is started with that counts for the agent `workload`.
pub(crate) const WORKLOAD_AGENT: &str =
    "[[agents]]\nname = \"workload\"\nenvironment = \"CUDA_TEST_AGENT=workload\"\n";

/// A program that holds device memory as long as it is kept: it copies, and each copy takes a second.
pub(crate) fn slow_work(libraries: &Path) -> Program {
    let mut command = Program::command("--api runtime --copies 1000000");
    command.env("CUDA_SIM_LATENCY_NS", "cudaMemcpy=1000000000");
    Program::start(libraries, &mut command)
}

/// One more program that does something of everything, and ends.
pub(crate) fn more_work(libraries: &Path) {
    Program::workload(libraries, EVERYTHING).ends_well();
}
