//! All families under a mixed load of stress-ng, beside `node_exporter` and those of libbpf-tools
//! that do comparable work: what the watchers use themselves, and what the watched pay.
//!
//! Rounds without BPF statistics tell how much CPU time each operation of the load takes; a round
//! with them tells how much of it was spent in kernel programs.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use crate::process::{Running, free_port};

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

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// A condition's name, and what has to run for it.
type Condition = (&'static str, fn() -> Vec<Running>);

pub(crate) fn measure() {
    let conditions: [Condition; 3] = [
        ("nobody watches", Vec::new),
        ("monitoring-agent, all families", || {
            vec![Running::agent(
                free_port(),
                &["--collection-interval", "1s"],
            )]
        }),
        ("node_exporter and libbpf-tools", peers),
    ];
    println!("stress-ng {}: CPU time per operation", STRESSORS.join(", "));
    let mut per_operation = conditions.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (condition, samples) in conditions.iter().zip(&mut per_operation) {
            let running = condition.1();
            samples.push(load());
            drop(running);
        }
    }
    let [base, agent, peers] = per_operation.map(|rounds| medians(&rounds));
    for (name, costs) in [(conditions[1].0, agent), (conditions[2].0, peers)] {
        let ratios = costs
            .iter()
            .map(|(stressor, cost)| format!("{stressor} {:.3}", cost / base[stressor]));
        let ratios: Vec<_> = ratios.collect();
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

/// CPU time per operation, by stressor, in seconds.
type Costs = BTreeMap<&'static str, f64>;

/// One round of the load.
fn load() -> Costs {
    let folder = tempfile::tempdir().expect("a folder for the load's files");
    let output = stress(folder.path()).output();
    let output = output.expect("stress-ng; `cargo xtask setup` installs what the benchmarks need");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = text + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let rows = text.lines().filter(|line| line.contains("metrc:"));
    let costs: Costs = rows
        .filter_map(|row| {
            let words: Vec<&str> = row.split(']').nth(1)?.split_whitespace().collect();
            let name = STRESSORS
                .into_iter()
                .find(|name| words.first() == Some(name))?;
            let number = |column: usize| words.get(column)?.parse::<f64>().ok();
            Some((name, (number(3)? + number(4)?) / number(1)?))
        })
        .collect();
    assert_eq!(costs.len(), STRESSORS.len(), "{text}");
    costs
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

fn medians(rounds: &[Costs]) -> Costs {
    let median = |name| {
        let mut samples: Vec<f64> = rounds.iter().map(|costs| costs[name]).collect();
        samples.sort_by(f64::total_cmp);
        (name, samples[samples.len() / 2])
    };
    STRESSORS.map(median).into()
}

/// The kernel's BPF statistics, switched on while this lives.
struct Statistics(String);

impl Statistics {
    fn on() -> Self {
        let before = fs::read_to_string(STATISTICS).expect("the kernel has BPF statistics");
        fs::write(STATISTICS, "1").expect("root may switch BPF statistics on");
        Self(before)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATISTICS, self.0.trim()) {
            eprintln!("{STATISTICS} stays on: {error}");
        }
    }
}
