//! A program that uses `cudarc`, unmodified, on the stand-in. The program runs in a child process,
//! which is this test again.

use std::{
    collections::BTreeMap,
    env,
    process::{Command, Output},
};

use cuda_sim::Calls;

/// The test that is the program where this variable says how many threads and launches it has.
const PROGRAM: &str = "runs_and_gets_right_data_back";
const WORK: &str = "CUDARC_THREADS_AND_LAUNCHES";

fn run(work: &str, variables: &[(&str, &str)]) -> (Output, BTreeMap<String, Calls>) {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let counts = folder.path().join("counts");
    let mut program = Command::new(env::current_exe().unwrap());
    program.args(["--exact", PROGRAM, "--nocapture"]);
    program.env(WORK, work).envs(variables.iter().copied());
    program
        .env("LD_LIBRARY_PATH", folder.path())
        .env("CUDA_SIM_COUNTS", &counts);
    let output = program.output().unwrap();
    let counts = cuda_sim::read_counts(&counts).unwrap();
    assert_eq!(counts.len(), 1, "the driver alone");
    assert_eq!(counts[0].library, "libcuda.so.1");
    (output, counts[0].calls.clone())
}

/// What the child has printed, on either side.
fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn runs_and_gets_right_data_back() {
    if let Ok(work) = env::var(WORK) {
        let (threads, launches) = work.split_once(' ').unwrap();
        return cuda_sim_cudarc::run(threads.parse().unwrap(), launches.parse().unwrap()).unwrap();
    }
    let (output, calls) = run("4 250", &[]);
    let said = printed(&output);
    assert!(
        output.status.success() && said.contains("done\n"),
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
    let (output, calls) = run("1 10", &[("CUDA_SIM_ERRORS", "cuLaunchKernel=719:after=5")]);
    let said = printed(&output);
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
    let (output, _) = run("1 1", &[("CUDA_SIM_DEVICES", "0")]);
    let said = printed(&output);
    assert!(
        !output.status.success() && said.contains("CUDA_ERROR_NO_DEVICE"),
        "{said}"
    );
    let (output, _) = run("1 1", &[("CUDA_SIM_DEVICES", "8")]);
    assert!(printed(&output).contains("of 8\n"), "{output:?}");
}
