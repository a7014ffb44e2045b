//! What probes cost those who are watched: taken off their durations, and kept within a budget
//! without a count being lost.

use serde_json::Value;
use tempfile::TempDir;

use super::rig::{Program, agent_with, nothing_lost, number, same, watched};
use crate::{
    poll::poll_until,
    process::{Agent, sum, value},
};

/// How long the stand-in's allocations take at least.
const ALLOCATION_NS: u32 = 200_000;

/// What the agent measured at its start.
fn trap(metrics: &str, probe: &str) -> f64 {
    let sample = format!("cuda_probe_overhead_seconds{{probe=\"{probe}\"}}");
    value(metrics, &sample).unwrap()
}

/// Sum and number of a call's durations.
fn durations(metrics: &str, call: &str) -> (f64, f64) {
    let label = format!("call=\"{call}\"");
    let of = |part: &str| {
        let name = format!("cuda_call_duration_seconds_{part}");
        sum(metrics, &name, &label)
    };
    (of("sum"), of("count"))
}

/// An agent that has probed the libraries in a folder, and a program that keeps them so.
fn probed(folder: &TempDir, api: &str, budget: &str) -> (Agent, Program) {
    cuda_sim::install(folder.path()).unwrap();
    let settings = format!("[sources.cuda]\noverhead_budget = {budget}\n");
    let agent = agent_with(folder.path(), &settings);
    let mut first = Program::workload(folder.path(), &format!("--api {api} --wait loaded"));
    first.line("Loaded");
    watched(&agent, "attached");
    (agent, first)
}

#[test]
fn durations_are_without_the_probes_and_not_shorter_than_the_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _first) = probed(&folder, "runtime", "1.0");
    let metrics = agent.fresh_metrics();
    let [entry, ret, nested] = ["entry", "return", "nested"].map(|probe| trap(&metrics, probe));
    for (probe, cost) in [("entry", entry), ("return", ret), ("nested", nested)] {
        assert!(cost > 0.0 && cost < 1e-3, "{probe}: {cost} s");
    }
    let arguments = "--api runtime --launches 50000 --wait end";
    let mut program = Program::workload(folder.path(), arguments);
    program.line("End");
    let metrics = agent.fresh_metrics();
    let (_, count) = durations(&metrics, "cudaLaunchKernel");
    same("launches", count, 50_000.0);
    // The stand-in's launch takes 0.2 µs, and contains a probed call of the driver's. With the
    // probes in it, none would be in the first bucket, which ends at 2 to the power of -20 of a
    // second. On a busy machine many take longer anyway.
    let first = "call=\"cudaLaunchKernel\",le=\"0.00000095367431640625\"";
    let short = sum(&metrics, "cuda_call_duration_seconds_bucket", first);
    assert!(
        short > count / 20.0,
        "{short} of {count} launches, with {nested} s a nested probe"
    );
    let latency = format!("cudaMalloc={ALLOCATION_NS}");
    let mut command = Program::command("--api runtime --malloc-pairs 200 --wait end");
    let mut program = Program::start(folder.path(), command.env("CUDA_SIM_LATENCY_NS", latency));
    program.line("End");
    let (seconds, count) = durations(&agent.fresh_metrics(), "cudaMalloc");
    same("allocations", count, 200.0);
    let least = count * f64::from(ALLOCATION_NS) / 1e9;
    assert!(seconds >= least, "{seconds} s for {least} s of allocations");
}

#[test]
fn counts_stay_exact_while_return_probes_are_dropped_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _first) = probed(&folder, "driver", "0.000001");
    let dropped = |want: f64| {
        poll_until("return probes are dropped, or back", || {
            let metrics = agent.fresh_metrics();
            let sample = "cuda_probe_returns_dropped{agent=\"workload\"}";
            let now = value(&metrics, sample)?;
            ((now - want).abs() < 0.5).then_some(metrics)
        })
    };
    let mut all = 0.0;
    let mut timed = 0.0;
    for round in 0..2 {
        let arguments = "--api driver --threads 4 --launches 2000000 --streams 2 \
                         --malloc-pairs 100 --copies 100 --wait end";
        let mut program = Program::workload(folder.path(), arguments);
        let said: Value = serde_json::from_str(&program.line("\"calls\"")).unwrap();
        let metrics = dropped(1.0);
        let launches = &said["calls"]["cuLaunchKernel"];
        all += number(&launches["count"]);
        let total = sum(&metrics, "cuda_calls_total", "call=\"cuLaunchKernel\"");
        same("launches", total, all);
        let by_kernel = sum(&metrics, "gpu_kernel_launches_total", "workload");
        same("launches by kernel", by_kernel, all);
        let (_, now) = durations(&metrics, "cuLaunchKernel");
        // Both ways in the same program, each time.
        assert!(now > timed && now < all, "{now} of {all} in round {round}");
        timed = now;
        // Memory needs to know how its calls end, whatever that costs.
        for call in ["cuMemAlloc", "cuMemFree"] {
            let label = format!("call=\"{call}\"");
            let (_, timed) = durations(&metrics, call);
            same(call, sum(&metrics, "cuda_calls_total", &label), timed);
        }
        let metrics = dropped(0.0);
        nothing_lost(&metrics);
        program.go_on();
    }
    agent
        .process
        .wait_for("its probes cost more than overhead_budget");
}
