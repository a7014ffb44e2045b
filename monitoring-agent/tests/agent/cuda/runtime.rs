//! NVIDIA's own runtime libraries, and the stand-ins, under the load that other agents lose calls
//! under. Without a driver each call into the real ones fails; it is made all the same.

use std::path::Path;

use serde_json::Value;

use super::rig::{
    Program, agent, compare, compare_names, install_runtime, launches_by_name, metrics, name_of,
    number, same,
};
use crate::{
    poll::poll_until,
    process::{Agent, sum},
};

const THREADS: usize = 8;
const LAUNCHES: u32 = 1_000_000;
const PAIRS: u32 = 100_000;
const COPIES: u32 = 20_000;

/// What every program here does.
fn work(more: &str) -> String {
    format!(
        "--threads {THREADS} --launches {LAUNCHES} --malloc-pairs {PAIRS} --copies {COPIES} \
         --wait end {more}"
    )
}

/// Runs the work with an agent that knows the libraries, and compares all there is; the agent's
/// metrics and the program's own words.
fn exactly(folder: &Path, agent: &Agent, api: &str, arguments: &str) -> Value {
    let mut program =
        Program::known_workload(folder, agent, &work(&format!("--api {api} {arguments}")));
    let said = program.report();
    let now = metrics(agent);
    compare(&now, &said, api);
    compare_names(&now, &said, name_of);
    let launches = said["launches"].as_object().unwrap();
    assert!(launches.len() > 5, "{launches:?}");
    program.go_on();
    program.ends_well();
    // What has been counted stays when the process is gone.
    let before = launches_by_name(&now);
    assert_eq!(launches_by_name(&metrics(agent)), before);
    said
}

/// A million launches on NVIDIA's library.
fn real(library: &str, how: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = install_runtime(library, folder.path());
    let agent = agent(folder.path());
    let arguments = format!("--library {}", file.display());
    let _first = Program::forerunner(folder.path(), &agent, &arguments);
    let said = exactly(
        folder.path(),
        &agent,
        "runtime",
        &format!("{arguments} --regardless {how}"),
    );
    let calls = &said["calls"];
    same(
        "launches",
        number(&calls["cudaLaunchKernel"]["count"]),
        LAUNCHES.into(),
    );
    let frees = f64::from(PAIRS) + THREADS as f64;
    for call in ["cudaMalloc", "cudaFree"] {
        same(call, number(&calls[call]["count"]), frees);
    }
    same(
        "copies",
        number(&calls["cudaMemcpy"]["count"]),
        COPIES.into(),
    );
    // There is no driver: nothing can have succeeded, or this is not the library that it should be.
    let errors = &calls["cudaMalloc"]["errors"];
    let failed: f64 = errors.as_object().unwrap().values().map(number).sum();
    same("failed", failed, frees);
}

#[test]
fn a_million_launches_on_cuda_12() {
    real("libcudart.so.12", "");
}

#[test]
fn a_million_launches_on_cuda_13() {
    real("libcudart.so.13", "");
}

#[test]
fn a_million_launches_by_handles_on_cuda_13() {
    real("libcudart.so.13", "--stubs");
}

/// A million launches on the stand-ins, where calls succeed.
fn simulated(api: &str, how: &str) {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let agent = agent(folder.path());
    let _first = Program::forerunner(folder.path(), &agent, &format!("--api {api}"));
    let arguments = format!("--streams 2 --graph 1000 --errors 1000 {how}");
    let said = exactly(folder.path(), &agent, api, &arguments);
    let bytes = 4096.0 * f64::from(COPIES / 2);
    same("h2d", number(&said["copied_bytes"]["h2d"]), bytes);
    same("d2h", number(&said["copied_bytes"]["d2h"]), bytes);
    let allocated = 4096.0 * (f64::from(PAIRS) + THREADS as f64);
    same("allocated", number(&said["allocated_bytes"]), allocated);
    poll_until("nothing is held any more", || {
        let held = sum(
            &metrics(&agent),
            "cuda_allocated_bytes",
            "agent=\"workload\"",
        );
        (held < 0.5).then_some(())
    });
}

#[test]
fn a_million_launches_of_the_runtime() {
    simulated("runtime", "");
}

#[test]
fn a_million_launches_by_handles() {
    simulated("runtime", "--stubs");
}

#[test]
fn a_million_launches_of_the_driver() {
    simulated("driver", "");
}
