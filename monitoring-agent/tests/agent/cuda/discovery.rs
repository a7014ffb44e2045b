//! Processes and files, however they come: each is seen, or what was not seen is counted.

mod hostile;
mod short;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    WORKLOAD,
    rig::{
        ARGUMENTS, Program, agent, agent_that_knows, agent_with, configuration, libraries, lost,
        number, same, watched,
    },
};
use crate::{
    poll::poll_until,
    process::{Agent, sum, value},
};

const WORK: &str = "--threads 2 --launches 1000 --malloc-pairs 50";

/// Lets a workload go on that is seen, and compares the calls of it and of earlier ones.
fn counted(agent: &Agent, program: &mut Program, earlier: f64) -> f64 {
    program.go_on();
    let said: Value = serde_json::from_str(&program.line("\"calls\"")).unwrap();
    let launches = said["launches"].as_object().unwrap().values();
    let all = earlier + launches.map(number).sum::<f64>();
    let metrics = agent.fresh_metrics();
    let ours = sum(&metrics, "gpu_kernel_launches_total", "workload");
    same("launches", ours, all);
    all
}

/// Waits until so many processes have this coverage.
fn covered(agent: &Agent, state: &str, count: u32) {
    let sample = format!("cuda_probe_coverage{{agent=\"workload\",state=\"{state}\"}}");
    poll_until(&format!("{count} are {state}"), || {
        let covered = value(&agent.fresh_metrics(), &sample).unwrap_or(0.0);
        ((covered - f64::from(count)).abs() < 0.5).then_some(())
    });
}

#[test]
fn libraries_of_any_time_and_place_are_seen() {
    let folder = libraries();
    // Mapped before the agent, and deleted.
    let deleted = libraries();
    let arguments = format!("--api driver {WORK} --wait loaded,end");
    let mut old = Program::workload(deleted.path(), &arguments);
    old.line("Loaded");
    for name in ["libcuda.so.1", "libcudart.so.12"] {
        fs::remove_file(deleted.path().join(name)).unwrap();
    }
    let agent = agent(folder.path());
    covered(&agent, "attached", 1);
    let mut all = counted(&agent, &mut old, 0.0);
    // Opened by a program that has run for some time.
    let arguments = format!("--api driver {WORK} --wait start,loaded,end");
    let mut late = Program::workload(folder.path(), &arguments);
    late.line("Start");
    let metrics = agent.fresh_metrics();
    same("late", lost(&metrics, "probed_late"), 0.0);
    covered(&agent, "attached", 1);
    late.go_on();
    late.line("Loaded");
    covered(&agent, "attached", 2);
    all = counted(&agent, &mut late, all);
    // What ends is no longer told of, and that without a look at all processes.
    old.go_on();
    old.ends_well();
    covered(&agent, "attached", 1);
    let metrics = agent.fresh_metrics();
    let launches = sum(&metrics, "gpu_kernel_launches_total", "workload");
    same("launches", launches, all);
    // It had mapped its library a moment before it was probed, and who knows what it had called.
    same("late", lost(&metrics, "probed_late"), 1.0);
    same("missed", lost(&metrics, "ended_unprobed"), 0.0);
    same("lost", lost(&metrics, "mappings_lost"), 0.0);
}

#[test]
fn a_process_in_namespaces_of_its_own_is_seen() {
    let folder = libraries();
    let agent = agent(folder.path());
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let script = format!(
        "mount -t tmpfs none {1} && cp {0}/lib*.so* {1} && mount -t proc proc /proc && exec \"$@\"",
        folder.path().display(),
        inner.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--net", "--fork", "--kill-child"])
        .args(["sh", "-ec", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", WORKLOAD, "--nocapture", "--quiet"])
        .env(
            ARGUMENTS,
            format!("workload --api runtime {WORK} --wait loaded,end"),
        );
    let mut program = Program::start(&inner, &mut command);
    // It is the first process where it is.
    let loaded = program.line("Loaded");
    assert!(
        loaded.ends_with("Loaded 1") || loaded.ends_with("Loaded 2"),
        "{loaded}"
    );
    assert!(!inner.join("libcudart.so.12").exists());
    watched(&agent, "attached");
    counted(&agent, &mut program, 0.0);
    let told = agent.process.log();
    let path = inner.join("libcudart.so.12");
    assert!(told.contains(path.to_str().unwrap()), "{told}");
}

#[test]
fn libraries_and_calls_are_chosen() {
    let folder = libraries();
    let other = folder.path().join("libmine.so");
    fs::copy(folder.path().join("libcuda.so.1"), &other).unwrap();
    let more = "[sources.cuda]\nlibraries = ['libmine.*']\nexclude_calls = ['cuMem*']\n";
    let mut agent = agent_with(folder.path(), more);
    let run = |agent: &Agent| {
        let arguments = format!(
            "--api driver --library {} {WORK} --wait loaded,end",
            other.display()
        );
        let mut program = Program::workload(folder.path(), &arguments);
        program.line("Loaded");
        covered(agent, "attached", 1);
        counted(agent, &mut program, 0.0);
        program
    };
    let calls = |agent: &Agent, call: &str| {
        let label = format!("call=\"{call}\"");
        sum(
            &agent.fresh_metrics(),
            "cuda_call_duration_seconds_count",
            &label,
        )
    };
    let mut program = run(&agent);
    same("allocations", calls(&agent, "cuMemAlloc"), 0.0);
    same("launches", calls(&agent, "cuLaunchKernel"), 1_000.0);
    program.go_on();
    program.ends_well();
    let file = folder.path().join("monitoring.toml");
    fs::write(&file, configuration(&more.replace("cuMem*", "*Query"))).unwrap();
    agent.process.signal(libc::SIGHUP);
    agent.process.wait_for("the new configuration is in force");
    let _program = run(&agent);
    assert!(calls(&agent, "cuMemAlloc") > 0.5);
    // What matches nothing is not taken, and the agent goes on as it was.
    fs::write(&file, configuration(&more.replace("cuMem*", "cuNem*"))).unwrap();
    agent.process.signal(libc::SIGHUP);
    agent.process.wait_for("is no call that is counted");
    assert!(calls(&agent, "cuMemAlloc") > 0.5);
    agent.process.signal(libc::SIGTERM);
    assert!(agent.process.wait().success());
}

/// Compiles a C program, or a library.
fn compile(source: &str, to: &Path, flags: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(["-x", "c", "-", "-x", "none", "-o"]).arg(to);
    let mut child = cc.args(flags).stdin(Stdio::piped()).spawn();
    let child = child.as_mut().expect("a C compiler: install gcc");
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, source.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
}
