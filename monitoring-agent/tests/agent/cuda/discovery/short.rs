//! Processes that live for milliseconds, some two hundred in a second.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cuda_sim::Linkage;

use super::*;

/// Launches of each process.
const LAUNCHES: u32 = 20;

/// Processes that run at the same time.
const AT_A_TIME: usize = 4;

/// What the agent's memory may grow by while thousands of processes come and go.
const GROWTH_BYTES: u64 = 2 << 20;

/// A program that does nothing but launch, with a library that does nothing at all; and a process of
/// it that waits.
fn small_program(folder: &TempDir) -> (PathBuf, Program) {
    let place = folder.path().join("small");
    fs::create_dir(&place).unwrap();
    let (library, program) = (place.join("libcudart.so.11.0"), place.join("program"));
    let launch = "int cudaLaunchKernel(const void *function)";
    let text = format!("{launch} {{ return function == 0; }}");
    compile(&text, &library, &["-shared", "-fPIC"]);
    let text = format!(
        "#include <stdio.h>\n#include <stdlib.h>\nextern {launch};\n\
         int main(int count, char **arguments) {{\n\
         if (count < 3) return puts(\"waits\"), fflush(stdout), getchar();\n\
         for (int left = atoi(arguments[2]); left > 0; left--) cudaLaunchKernel(main);\n}}\n"
    );
    compile(&text, &program, &[library.to_str().unwrap()]);
    let mut holder = Program::start(&place, &mut Command::new(&program));
    holder.line("waits");
    (program, holder)
}

/// Has processes run, a few at a time, each with the libraries of its own folder. Gives how many a
/// second there were.
fn run(program: &Path, folders: &[PathBuf]) -> f64 {
    let begun = Instant::now();
    for some in folders.chunks(AT_A_TIME) {
        let start = |folder: &PathBuf| {
            let mut command = Command::new(program);
            command.args(["1", &LAUNCHES.to_string(), "0", "0"]);
            command.env("CUDA_TEST_AGENT", "workload");
            command.env("LD_LIBRARY_PATH", folder);
            command.stdout(Stdio::null()).spawn().unwrap()
        };
        let mut children: Vec<_> = some.iter().map(start).collect();
        for child in &mut children {
            assert!(child.wait().unwrap().success());
        }
    }
    folders.len() as f64 / begun.elapsed().as_secs_f64()
}

/// Launches that the agent has counted: of whatever agent, since the first processes of a program have
/// made calls by the time that their labels are known.
fn launches(metrics: &str) -> f64 {
    sum(metrics, "gpu_kernel_launches_total", "kernel_type=")
}

/// Processes of which it says that they were not seen, or not from their first call on.
fn missed(metrics: &str) -> f64 {
    lost(metrics, "ended_unprobed") + lost(metrics, "probed_late")
}

/// Memory of the agent's own, in bytes.
fn memory(agent: &Agent) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", agent.process.child.id());
    let text = fs::read_to_string(path).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() * 1_024
}

/// The metrics once all that was mapped has been heard of.
fn settled(agent: &Agent) -> String {
    let mut before = String::new();
    let mut since = Instant::now();
    poll_until("nothing changes any more", || {
        let metrics = agent.fresh_metrics();
        let now = format!("{} {}", launches(&metrics), missed(&metrics));
        if now != before {
            (before, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(2)).then_some(metrics)
    })
}

#[test]
fn short_processes_are_counted_or_counted_as_missed() {
    let folder = libraries();
    let program = cuda_sim::build_program(folder.path(), Linkage::Dynamic).unwrap();
    let (agent, _first) = agent_that_knows(folder.path(), "runtime");
    let per_process = f64::from(LAUNCHES);
    // Of libraries that are known, every process is seen from its first call to its last.
    let known = vec![folder.path().to_owned(); 500];
    run(&program, &known);
    let metrics = settled(&agent);
    same("launches", launches(&metrics), 500.0 * per_process);
    same("missed", missed(&metrics), 0.0);
    // Of smaller ones there are more in a second. The first has it probed, which is late for it alone.
    let (small, _holder) = small_program(&folder);
    covered(&agent, "attached", 2);
    let before = memory(&agent);
    let rate = run(&small, &vec![folder.path().to_owned(); 2_000]);
    let metrics = settled(&agent);
    same("launches", launches(&metrics), 2_500.0 * per_process);
    same("missed", missed(&metrics), 1.0);
    let grown = memory(&agent).saturating_sub(before);
    println!("{rate:.0} processes a second, {grown} bytes more");
    assert!(grown < GROWTH_BYTES, "{grown} bytes");
    // Of one that is new, those are that begin after it was probed; the others are said to be missed.
    let new = libraries();
    run(&program, &vec![new.path().to_owned(); 200]);
    let metrics = settled(&agent);
    let seen = launches(&metrics) - 2_500.0 * per_process;
    let not = missed(&metrics) - 1.0;
    // On a busy machine some are not heard of, which is counted, too.
    let unheard = lost(&metrics, "mappings_lost");
    println!("of 200 with a new library, {not} were missed");
    assert!((1.0..200.0).contains(&not), "{not}");
    assert!(
        seen <= 200.0 * per_process && seen >= (200.0 - not - unheard) * per_process,
        "{seen}"
    );
    // Where each brings its own, it is seen or said to be missed.
    let own: Vec<TempDir> = (0..40).map(|_| libraries()).collect();
    let folders: Vec<PathBuf> = own.iter().map(|own| own.path().to_owned()).collect();
    let (earlier, earlier_missed) = (launches(&metrics), missed(&metrics));
    run(&program, &folders);
    let metrics = settled(&agent);
    let (seen, not) = (
        launches(&metrics) - earlier,
        missed(&metrics) - earlier_missed,
    );
    let unheard = lost(&metrics, "mappings_lost");
    println!("of 40 with a library each, {not} were missed");
    assert!(
        not <= 40.0 && seen >= (40.0 - not - unheard) * per_process,
        "{not} {seen}"
    );
}
