//! All families under a mixed load of stress-ng, beside `node_exporter` and those of libbpf-tools
//! that do comparable work: what the watchers use themselves, and what the watched pay.
//!
//! Rounds without BPF statistics tell how much CPU time each operation of the load takes; a round
//! with them tells how much of it was spent in kernel programs.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use crate::{
    process::{Running, Statistics, free_port},
    turns::{Condition, NOBODY, medians},
};

const ROUNDS: usize = 3;
const SECONDS: u32 = 10;

/// The load: context switches, processes, TCP and Unix sockets, direct disk requests, arithmetic.
const STRESSORS: [&str; 5] = ["switch", "fork", "sock", "hdd", "cpu"];

/// What of libbpf-tools counts what the agent counts too. They count neither time off CPU nor
/// bytes by process; its tools for those need kprobes or collect stacks.
const TOOLS: [(&str, &[&str]); 6] = [
    ("runqlat", &["1"]),
    ("biolatency", &["1"]),
    ("syscount", &["-L", "-i", "1"]),
    ("execsnoop", &[]),
    ("exitsnoop", &[]),
    ("tcpstates", &[]),
];

pub(crate) fn measure() {
    let conditions: [Condition<'_>; 3] = [
        NOBODY,
        ("monitoring-agent, all families", &|| {
            let interval = ["--collection-interval", "1s"];
            vec![Running::agent(free_port(), &interval)]
        }),
        ("node_exporter and libbpf-tools", &peers),
    ];
    println!("stress-ng {}: CPU time per operation", STRESSORS.join(", "));
    let [base, watched @ ..] = medians(ROUNDS, &conditions, load);
    for ((name, _), costs) in conditions[1..].iter().zip(watched) {
        let ratios: Vec<_> = STRESSORS
            .iter()
            .zip(costs)
            .zip(base)
            .map(|((stressor, cost), base)| format!("{stressor} {:.3}", cost / base))
            .collect();
        println!("  {name:<34} times that of nobody: {}", ratios.join(", "));
    }
    let statistics = Statistics::on();
    println!("  share of all CPUs: user side, and kernel programs by BPF statistics");
    for (name, start) in &conditions[1..] {
        let running = start();
        let (user, kernel) = shares(&running);
        println!("  {name:<34}{user:>9.3} %{kernel:>9.3} %");
    }
    drop(statistics);
    println!();
}

fn peers() -> Vec<Running> {
    let mut running = vec![Running::node_exporter(free_port())];
    running.extend(TOOLS.map(|(program, arguments)| Running::tracer(program, arguments)));
    running
}

/// One round of the load: CPU time per operation, by stressor, in seconds.
fn load() -> [f64; STRESSORS.len()] {
    let folder = tempfile::tempdir().expect("a folder for the load's files");
    let output = stress(folder.path()).output();
    let output = output.expect("stress-ng; `cargo xtask setup` installs what the benchmarks need");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = text + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    STRESSORS.map(|stressor| {
        let mut rows = text.lines().filter(|line| line.contains("metrc:"));
        let cost = rows.find_map(|row| {
            let words: Vec<&str> = row.split(']').nth(1)?.split_whitespace().collect();
            let number = |column: usize| words.get(column)?.parse::<f64>().ok();
            let of_this = words.first() == Some(&stressor);
            of_this.then_some((number(3)? + number(4)?) / number(1)?)
        });
        cost.unwrap_or_else(|| panic!("nothing about {stressor} in {text}"))
    })
}

fn stress(folder: &Path) -> Command {
    let mut stress = Command::new("stress-ng");
    for stressor in STRESSORS {
        stress.args([format!("--{stressor}"), "1".to_owned()]);
    }
    stress
        .args(["--hdd-bytes", "16M", "--hdd-opts", "direct"])
        .args(["--timeout", &SECONDS.to_string(), "--metrics-brief"])
        .arg("--temp-path")
        .arg(folder)
        .stdin(Stdio::null());
    stress
}

/// Shares in percent that the watchers take of all CPUs under load: outside the kernel programs,
/// and inside.
fn shares(running: &[Running]) -> (f64, f64) {
    let taken = || {
        let user: u64 = running.iter().map(Running::cpu_ns).sum();
        let kernel: u64 = running.iter().map(Running::program_ns).sum();
        (user as f64, kernel as f64)
    };
    let before = taken();
    let begun = Instant::now();
    load();
    let elapsed_ns = begun.elapsed().as_secs_f64() * 1e9;
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let after = taken();
    let percent = |ns: f64| ns / (elapsed_ns * cpus) * 100.0;
    (percent(after.0 - before.0), percent(after.1 - before.1))
}
