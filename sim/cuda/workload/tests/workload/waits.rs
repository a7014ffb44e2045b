//! Time: kernels that take some, calls that are slow, and a program that waits to be looked at.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::rig::{finished, program, run};

#[test]
fn streams_run_beside_each_other_and_are_waited_for() {
    let kernels = ("CUDA_SIM_KERNEL_NS", "*=5000000");
    let work_ns = |streams| {
        let run = run(&["--launches", "40", "--streams", streams], &[kernels]);
        run.said.work_ns
    };
    let (one, four, null) = (work_ns("1"), work_ns("4"), work_ns("0"));
    assert!(
        one >= 200_000_000,
        "{one} ns for 40 kernels of 5 milliseconds"
    );
    assert!(null >= 200_000_000, "{null} ns on the null stream");
    assert!(
        (50_000_000..one).contains(&four),
        "{four} ns on four streams, {one} on one"
    );
}

#[test]
fn graphs_take_the_time_of_their_kernels() {
    let run = run(&["--graph", "20"], &[("CUDA_SIM_KERNEL_NS", "*=1000000")]);
    assert!(run.said.work_ns >= 20_000_000, "{} ns", run.said.work_ns);
}

#[test]
fn calls_are_as_slow_as_was_asked() {
    for (api, call) in [("runtime", "cudaMalloc"), ("driver", "cuMemAlloc_v2")] {
        let latency = format!("{call}=500000");
        let work = ["--api", api, "--malloc-pairs", "40"];
        let run = run(&work, &[("CUDA_SIM_LATENCY_NS", &latency)]);
        assert!(
            run.said.work_ns >= 20_000_000,
            "{api}: {} ns",
            run.said.work_ns
        );
    }
}

#[test]
fn waits_for_a_line_before_each_step() {
    let (folder, mut program) = program(&["--launches", "3", "--wait", "start,loaded,end"], &[]);
    let mut child = program.spawn().unwrap();
    let (mut lines, mut input) = (
        BufReader::new(child.stdout.take().unwrap()).lines(),
        child.stdin.take().unwrap(),
    );
    let maps = format!("/proc/{}/maps", child.id());
    let is_open = || {
        std::fs::read_to_string(&maps)
            .unwrap()
            .contains("libcudart.so.12")
    };
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), format!("Start {}", child.id()));
    assert!(!is_open());
    writeln!(input).unwrap();
    assert_eq!(next(), format!("Loaded {}", child.id()));
    assert!(is_open());
    assert!(!folder.path().join("counts").exists());
    writeln!(input).unwrap();
    let report = next();
    assert!(
        report.contains("\"cudaLaunchKernel\":{\"count\":3"),
        "{report}"
    );
    assert_eq!(next(), format!("End {}", child.id()));
    writeln!(input).unwrap();
    let mut output = child.wait_with_output().unwrap();
    output.stdout = report.into_bytes();
    let run = finished(folder.path(), &output);
    assert_eq!(run.library("libcudart.so.12")["cudaLaunchKernel"].count, 3);
}

#[test]
fn streams_are_asked_until_they_are_done() {
    let kernels = ("CUDA_SIM_KERNEL_NS", "*=10000000");
    for (api, query, call) in [
        ("runtime", "stream", "cudaStreamQuery"),
        ("runtime", "event", "cudaEventQuery"),
        ("driver", "stream", "cuStreamQuery"),
        ("driver", "event", "cuEventQuery"),
    ] {
        let work = [
            "--api",
            api,
            "--launches",
            "4",
            "--streams",
            "1",
            "--query",
            query,
        ];
        let run = run(&work, &[kernels]);
        let said = run.said;
        assert!(said.work_ns >= 40_000_000, "{call}: {} ns", said.work_ns);
        let calls = &said.calls[call];
        assert!(calls.count > 1, "{calls:?}");
        // All answers but the last are that it is not ready.
        assert_eq!(
            calls.errors.values().sum::<u64>(),
            calls.count - 1,
            "{calls:?}"
        );
        assert!(calls.errors.keys().all(|code| *code == 600), "{calls:?}");
    }
}
