//! A program that uses `cudarc`, unmodified, on the stand-in.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    process::{Command, Output},
};

use cuda_sim::Calls;

/// The example of this package, which cargo builds with the tests.
fn program() -> PathBuf {
    let test = env::current_exe().unwrap();
    let program = test.parent().unwrap().join("../examples/cudarc");
    assert!(
        program.is_file(),
        "build it with `cargo build -p cuda-sim --examples`"
    );
    program
}

fn run(arguments: [&str; 2], variables: &[(&str, &str)]) -> (Output, BTreeMap<String, Calls>) {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let counts = folder.path().join("counts");
    let mut program = Command::new(program());
    program.args(arguments).envs(variables.iter().copied());
    program
        .env("LD_LIBRARY_PATH", folder.path())
        .env("CUDA_SIM_COUNTS", &counts);
    let output = program.output().unwrap();
    let counts = cuda_sim::read_counts(&counts).unwrap();
    assert_eq!(counts.len(), 1, "the driver alone");
    assert_eq!(counts[0].library, "libcuda.so.1");
    (output, counts[0].calls.clone())
}

#[test]
fn runs_and_gets_right_data_back() {
    let (output, calls) = run(["4", "250"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.ends_with("done\n"),
        "{output:?}"
    );
    let count = |call: &str| calls.get(call).map_or(0, |calls| calls.count);
    // Four threads, one between the events, and one that was captured.
    assert_eq!(count("cuLaunchKernel"), 4 * 250 + 1 + 1);
    assert_eq!(count("cuGraphLaunch"), 3);
    assert_eq!(count("cuStreamBeginCapture_v2"), 1);
    assert_eq!(count("cuModuleLoadData"), 1);
    assert_eq!(count("cuModuleGetFunction"), 3);
    assert_eq!(
        calls["cuModuleGetFunction"].errors,
        BTreeMap::from([(500, 1)])
    );
    assert_eq!(count("cuMemcpyHtoDAsync_v2"), 1);
    assert_eq!(count("cuMemcpyDtoHAsync_v2"), 4);
    assert_eq!(count("cuMemcpyDtoDAsync_v2"), 1);
    let allocated = count("cuMemAllocAsync") + count("cuMemAlloc_v2");
    assert_eq!(
        allocated,
        2 + 1 + 2 + 4,
        "two copied, one between events, two of the graph, four"
    );
    assert_eq!(count("cuMemFreeAsync") + count("cuMemFree_v2"), allocated);
    assert_eq!(
        count("cuEventElapsedTime_v2") + count("cuEventElapsedTime"),
        1
    );
    let failed = calls.iter().filter(|(_, calls)| !calls.errors.is_empty());
    assert_eq!(
        failed.count(),
        1,
        "the look-up of a kernel that is not there"
    );
}

#[test]
fn errors_arrive() {
    let (output, calls) = run(
        ["1", "10"],
        &[("CUDA_SIM_ERRORS", "cuLaunchKernel=719:after=5")],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("CUDA_ERROR_LAUNCH_FAILED"),
        "{said}"
    );
    let launches = &calls["cuLaunchKernel"];
    // Two before, and the program gives up at the first error.
    assert_eq!(
        (launches.count, &launches.errors),
        (6, &BTreeMap::from([(719, 1)]))
    );
}

#[test]
fn a_machine_may_have_no_device_or_several() {
    let (output, _) = run(["1", "1"], &[("CUDA_SIM_DEVICES", "0")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("CUDA_ERROR_NO_DEVICE"),
        "{said}"
    );
    let (output, _) = run(["1", "1"], &[("CUDA_SIM_DEVICES", "8")]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("of 8\n"),
        "{output:?}"
    );
}
