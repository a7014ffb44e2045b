//! Counts of both sides, and of both libraries.

use std::collections::BTreeMap;

use cuda_sim::Calls;

use crate::rig::{Run, run};

const WORK: [&str; 16] = [
    "--threads",
    "4",
    "--launches",
    "10007",
    "--streams",
    "3",
    "--malloc-pairs",
    "1001",
    "--copies",
    "33",
    "--bytes",
    "5000",
    "--graph",
    "10",
    "--errors",
    "9",
];

/// The workload's own counts, which it keeps where it calls, are the library's.
fn check_calls(run: &Run, library: &str) {
    let counted = run.library(library);
    for (call, said) in &run.said.calls {
        assert_eq!(counted.get(call), Some(said), "{call}");
    }
    let prepares = |call: &str| call.starts_with("__cudaRegister") || call == "cuModuleGetFunction";
    for call in counted.keys().filter(|call| !prepares(call)) {
        assert!(
            run.said.calls.contains_key(call),
            "{call} was counted, and not called"
        );
    }
}

fn check_work(run: &Run, launch: &str) {
    let said = &run.said;
    // Each thread captures one more; of the failed calls every other one is a launch.
    let launches = 10_007 + 4 + (2 + 1 + 1 + 1);
    assert_eq!(said.calls[launch].count, launches);
    let errors = said.calls.values().flat_map(|calls| calls.errors.values());
    assert_eq!(errors.sum::<u64>(), 9, "{:?}", said.calls);
    assert_eq!(said.launches.values().sum::<u64>(), launches);
    assert_eq!(said.launches.len(), 8);
    assert_eq!(said.allocated_bytes, (1001 + 4) * 5000);
    assert_eq!(said.freed_bytes, said.allocated_bytes);
    // 9, 8, 8 and 8 copies, every other one to the host.
    let bytes = [("d2h", 16 * 5000), ("h2d", 17 * 5000)];
    let bytes = bytes.map(|(direction, bytes)| (direction.to_owned(), bytes));
    assert_eq!(said.copied_bytes, BTreeMap::from(bytes));
}

#[test]
fn runtime() {
    let run = run(&WORK, &[]);
    check_calls(&run, "libcudart.so.12");
    check_work(&run, "cudaLaunchKernel");
    let failed = Calls {
        count: 10_016,
        errors: BTreeMap::from([(9, 5)]),
    };
    assert_eq!(run.said.calls["cudaLaunchKernel"], failed);
    assert_eq!(run.said.calls["cudaFree"].errors, BTreeMap::from([(1, 4)]));
}

#[test]
fn driver() {
    let run = run(&[&["--api", "driver"], &WORK[..]].concat(), &[]);
    check_calls(&run, "libcuda.so.1");
    check_work(&run, "cuLaunchKernel");
    assert_eq!(run.libraries(), 1, "the runtime has no part in this");
}

#[test]
fn the_runtime_calls_the_driver_by_what_it_looked_up() {
    let run = run(&WORK, &[]);
    let (runtime, driver) = (run.library("libcudart.so.12"), run.library("libcuda.so.1"));
    for (outer, inner) in [
        ("cudaLaunchKernel", "cuLaunchKernel"),
        ("cudaMalloc", "cuMemAlloc_v2"),
        ("cudaFree", "cuMemFree_v2"),
        ("cudaStreamSynchronize", "cuStreamSynchronize"),
        ("cudaDeviceSynchronize", "cuCtxSynchronize"),
        ("cudaGraphLaunch", "cuGraphLaunch"),
    ] {
        assert_eq!(runtime[outer].count, driver[inner].count, "{outer}");
    }
    let copies = driver["cuMemcpyHtoD_v2"].count + driver["cuMemcpyDtoH_v2"].count;
    assert_eq!(runtime["cudaMemcpy"].count, copies);
    // Every function of the driver is asked for, with either null stream, and none is linked.
    let asked = driver["cuGetProcAddress_v2"].count;
    assert!(asked > 200, "{asked}");
    // What is done once is done once, whichever thread is first.
    assert_eq!(driver["cuInit"].count, 1);
    assert_eq!(driver["cuDevicePrimaryCtxRetain"].count, 1);
    assert_eq!(driver["cuLibraryLoadData"].count, 1);
    assert_eq!(driver["cuLibraryGetKernel"].count, 8);
}

#[test]
fn a_million_launches_of_eight_threads() {
    let run = run(
        &["--threads", "8", "--launches", "1000000", "--streams", "2"],
        &[],
    );
    check_calls(&run, "libcudart.so.12");
    assert_eq!(
        run.library("libcudart.so.12")["cudaLaunchKernel"].count,
        1_000_000
    );
    assert_eq!(
        run.library("libcuda.so.1")["cuLaunchKernel"].count,
        1_000_000
    );
}

#[test]
fn kernels_are_launched_by_handles() {
    for (how, by_other_name) in [("--handles", false), ("--stubs", true)] {
        let run = run(&[&[how], &WORK[..]].concat(), &[]);
        check_work(&run, "cudaLaunchKernel");
        let launches = run.said.calls["cudaLaunchKernel"].count;
        let handles = run.said.calls["__cudaGetKernel"].count;
        assert_eq!(handles, if by_other_name { launches } else { 8 });
        check_calls(&run, "libcudart.so.12");
    }
}

#[test]
fn kernels_are_launched_by_those_of_a_library_and_their_functions() {
    let run = run(
        &[&["--handles", "--api", "driver"], &WORK[..]].concat(),
        &[],
    );
    check_work(&run, "cuLaunchKernel");
    assert_eq!(run.said.calls["cuLibraryGetKernel"].count, 8);
    assert_eq!(run.said.calls["cuKernelGetFunction"].count, 4);
    check_calls(&run, "libcuda.so.1");
}

#[test]
fn kernels_are_chosen_by_name() {
    let names = "any_name_will_do,_Z1fv";
    let run = run(
        &["--api", "driver", "--launches", "5", "--kernels", names],
        &[],
    );
    let want = [("any_name_will_do".to_owned(), 3), ("_Z1fv".to_owned(), 2)];
    assert_eq!(run.said.launches, BTreeMap::from(want));
}
