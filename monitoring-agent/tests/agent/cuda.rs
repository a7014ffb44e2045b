//! Calls into CUDA, counted exactly: the truth are the counts that the programs and the libraries
//! keep themselves.

mod cost;
mod discovery;
mod rig;

use std::{collections::BTreeMap, env};

use serde_json::Value;

use self::rig::{Program, number, same};
use crate::process::sum;

/// The test that is the program where this variable says with which arguments.
const PROGRAM: &str = "cuda::programs_of_the_runtime_and_of_the_driver";
const ARGUMENTS: &str = "CUDA_WORKLOAD_ARGUMENTS";
/// The test that is a program of `cudarc` where this variable says how many threads and launches.
const CUDARC: &str = "cuda::an_unmodified_program_of_cudarc";
const WORK: &str = "CUDARC_THREADS_AND_LAUNCHES";

/// Compares all that the agent has with what a workload said of itself.
fn compare(metrics: &str, said: &Value, api: &str) {
    for (call, counts) in said["calls"].as_object().unwrap() {
        let name = call.trim_end_matches("_v2");
        let label = format!("api=\"{api}\",call=\"{name}\"");
        let ours = sum(metrics, "cuda_call_duration_seconds_count", &label);
        same(call, ours, number(&counts["count"]));
        for (code, count) in counts["errors"].as_object().unwrap() {
            let label = format!("call=\"{name}\",code=\"{code}\"");
            same(
                &label,
                sum(metrics, "cuda_errors_total", &label),
                number(count),
            );
        }
    }
    let launches = said["launches"].as_object().unwrap();
    let all: f64 = launches.values().map(number).sum();
    same(
        "launches",
        sum(metrics, "gpu_kernel_launches_total", "workload"),
        all,
    );
    for (direction, bytes) in said["copied_bytes"].as_object().unwrap() {
        let label = format!("direction=\"{direction}\"");
        same(
            &label,
            sum(metrics, "cuda_memcpy_bytes_total", &label),
            number(bytes),
        );
    }
    same(
        "allocated",
        sum(metrics, "cuda_alloc_bytes_total", "workload"),
        number(&said["allocated_bytes"]),
    );
    same(
        "freed",
        sum(metrics, "cuda_free_bytes_total", "workload"),
        number(&said["freed_bytes"]),
    );
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("monitoring_agent_lost_total") && !line.ends_with(" 0"))
    {
        println!("{line}");
    }
    rig::nothing_lost(metrics);
}

#[test]
fn programs_of_the_runtime_and_of_the_driver() {
    if let Ok(arguments) = env::var(ARGUMENTS) {
        return cuda_sim_workload::main_with(arguments.split(' ')).unwrap();
    }
    for api in ["runtime", "driver"] {
        let folder = rig::libraries();
        // Makes the libraries known, so that the next program is seen from its first call on.
        let (agent, _first) = rig::agent_that_knows(&folder, api);
        let arguments = format!(
            "workload --api {api} --threads 4 --launches 20000 --streams 2 --malloc-pairs 2000 \
             --copies 1000 --graph 100 --errors 100 --wait end"
        );
        let mut program = Program::start(&folder, PROGRAM, &[(ARGUMENTS, &arguments)]);
        let said: Value = serde_json::from_str(&program.line("\"calls\"")).unwrap();
        let metrics = agent.fresh_metrics();
        compare(&metrics, &said, api);
        compare_names(&metrics, &said);
        program.go_on();
    }
}

/// Compares launches by name. A kernel's name without its parameters is within its mangled name, part
/// by part, behind the part's length.
fn compare_names(metrics: &str, said: &Value) {
    let launches = said["launches"].as_object().unwrap();
    let mut all = 0.0;
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("gpu_kernel_launches_total{"))
    {
        let (_, name) = line.split_once("kernel_type=\"").unwrap();
        let (name, _) = name.split_once('"').unwrap();
        let parts: String = name
            .split("::")
            .map(|part| format!("{}{part}", part.len()))
            .collect();
        let theirs = launches
            .iter()
            .filter(|(mangled, _)| mangled.contains(&parts) || *mangled == name);
        let theirs: f64 = theirs.map(|(_, count)| number(count)).sum();
        let label = format!("kernel_type=\"{name}\"");
        same(
            &label,
            sum(metrics, "gpu_kernel_launches_total", &label),
            theirs,
        );
        all += theirs;
    }
    same(
        "launches of all names",
        all,
        launches.values().map(number).sum(),
    );
}

#[test]
fn an_unmodified_program_of_cudarc() {
    if let Ok(work) = env::var(WORK) {
        let (threads, launches) = work.split_once(' ').unwrap();
        return cuda_sim_cudarc::run(threads.parse().unwrap(), launches.parse().unwrap()).unwrap();
    }
    let folder = rig::libraries();
    let (agent, _first) = rig::agent_that_knows(&folder, "driver");
    // What the first has called before it was seen is in its library's counts, not in ours.
    let mut program = Program::start(&folder, CUDARC, &[(WORK, "4 2500")]);
    program.line("done");
    assert!(program.child.wait().unwrap().success());
    let counts = cuda_sim::read_counts(&folder.path().join("counts")).unwrap();
    let of_program = counts
        .iter()
        .find(|counts| counts.pid == program.child.id());
    let metrics = agent.fresh_metrics();
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
        let label = format!("call=\"{name}\"");
        let (count, errors) = &calls[name];
        same(
            name,
            sum(&metrics, "cuda_call_duration_seconds_count", &label),
            *count,
        );
        for (code, count) in errors {
            let label = format!("{label},code=\"{code}\"");
            same(
                &label,
                sum(&metrics, "cuda_errors_total", &label),
                *count as f64,
            );
        }
    }
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("gpu_kernel_launches_total"))
    {
        println!("{line}");
        assert!(!line.contains("unknown:"), "{line}");
    }
    same(
        "launches",
        sum(&metrics, "gpu_kernel_launches_total", "workload"),
        calls["cuLaunchKernel"].0,
    );
    rig::nothing_lost(&metrics);
}
