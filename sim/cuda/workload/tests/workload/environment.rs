//! What the environment asks of the stand-ins.

use std::collections::BTreeMap;

use crate::rig::{program, run};

#[test]
fn errors_are_exact_over_threads() {
    let errors = (
        "CUDA_SIM_ERRORS",
        "cudaMalloc=2:every=10,cuLaunchKernel=719:after=100:times=7",
    );
    let run = run(
        &[
            "--threads",
            "4",
            "--malloc-pairs",
            "1000",
            "--launches",
            "500",
        ],
        &[errors],
    );
    let (said, driver) = (&run.said, run.library("libcuda.so.1"));
    assert_eq!(said.calls["cudaMalloc"].errors, BTreeMap::from([(2, 100)]));
    // A call that is made to fail goes no further.
    assert_eq!(driver["cuMemAlloc_v2"].count, 900);
    assert_eq!(said.calls["cudaFree"].count, 900);
    assert_eq!(said.allocated_bytes, 900 * 4096);
    assert_eq!(
        said.calls["cudaLaunchKernel"].errors,
        BTreeMap::from([(719, 7)])
    );
    assert_eq!(driver["cuLaunchKernel"].errors, BTreeMap::from([(719, 7)]));
}

#[test]
fn memory_runs_out() {
    let run = run(
        &["--malloc-pairs", "3", "--bytes", "4096"],
        &[("CUDA_SIM_MEMORY_BYTES", "4095")],
    );
    assert_eq!(
        run.said.calls["cudaMalloc"].errors,
        BTreeMap::from([(2, 3)])
    );
    assert_eq!(run.said.allocated_bytes, 0);
}

/// A rule that means nothing ends the process, and says why.
fn refused(variable: &str, value: &str, why: &str) {
    let (_folder, mut program) = program(&["--launches", "1"], &[(variable, value)]);
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{value}: {output:?}");
    assert!(said.contains(why), "{value}: {said}");
}

#[test]
fn rules_that_mean_nothing_are_refused() {
    refused("CUDA_SIM_ERRORS", "cudaMaloc=2", "no call `cudaMaloc`");
    refused(
        "CUDA_SIM_LATENCY_NS",
        "cuLaunchKernels=2",
        "no call `cuLaunchKernels`",
    );
    refused("CUDA_SIM_ERRORS", "malloc=2", "no call `malloc`");
    refused("CUDA_SIM_ERRORS", "cudaMalloc=2:often", "`often`");
    refused("CUDA_SIM_KERNEL_NS", "*=long", "CUDA_SIM_KERNEL_NS");
}

#[test]
fn no_driver_is_an_error() {
    let (folder, mut program) = program(&["--malloc-pairs", "1"], &[]);
    std::fs::remove_file(folder.path().join("libcuda.so.1")).unwrap();
    let output = program.output().unwrap();
    let run = crate::rig::finished(folder.path(), &output);
    assert_eq!(
        run.said.calls["cudaMalloc"].errors,
        BTreeMap::from([(35, 1)])
    );
}
