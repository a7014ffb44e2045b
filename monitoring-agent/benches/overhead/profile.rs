//! What profiling costs: how much less a busy node gets done with a profiler, whose own CPU time is
//! in that, because nothing is left idle. Beside `perf record` and bpftrace, which take as many
//! samples.
//!
//! Each watcher is compared with nobody in pairs of runs that follow each other, in the order ABBA;
//! the figure is the median of the pairs' ratios. Nobody compared with nobody shows what the machine
//! itself makes of it.
//!
//! Two figures: what gets done in a time, in which all that the machine does otherwise is, too; and
//! what gets done for the CPU time that the load and the watcher take together, in which it is not.
//!
//! `cargo xtask bench -- profile`, and `--pairs=N` for another number of pairs.

pub(crate) mod slices;

use std::{
    env,
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    agent::agent_with,
    process::{Running, free_port},
    turns::{Condition, NOBODY},
};

/// Pairs of runs, unless the command line says how many.
const PAIRS: usize = 10;
const PAIRS_OPTION: &str = "--pairs=";

/// How long each load runs each time.
const SECONDS: u32 = 4;

/// Longer than watchers take to get going.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// What keeps the CPUs busy.
const LOADS: [&str; 2] = ["compute", "switch"];

/// What bpftrace does, in its own words.
const SAME_SAMPLING: &str = "profile:hz:99 { @[ustack, kstack, comm] = count(); }";

/// The program that is the load, and whatever watchers write.
struct Setting {
    folder: tempfile::TempDir,
    load: PathBuf,
}

/// One run of a load.
#[derive(Clone, Copy)]
struct Run {
    /// What gets done in a second.
    each_second: f64,
    /// What gets done in a second of CPU time, that of the watcher included.
    each_cpu_second: f64,
    /// CPU time of the watcher's own processes, as a share of all CPUs.
    own: f64,
}

/// What one pair of runs says of a watcher under one load.
#[derive(Clone, Copy)]
struct Pair {
    /// What gets done in a time, as a part of what gets done with nobody watching.
    by_time: f64,
    /// Likewise, for the CPU time.
    by_cpu_time: f64,
    /// CPU time of the watcher's own processes, as a share of all CPUs.
    own: f64,
}

pub(crate) fn measure() {
    let setting = Setting::new();
    let setting = &setting;
    let window = format!("{SECONDS}s");
    let conditions: [Condition<'_>; 5] = [
        ("nobody, once more", NOBODY.1),
        ("monitoring-agent, 19 Hz", &|| {
            vec![setting.agent(19, &window)]
        }),
        ("monitoring-agent, 99 Hz", &|| {
            vec![setting.agent(99, &window)]
        }),
        ("perf record -g -F 99 -a -e cpu-clock", &|| {
            vec![Running::perf(&setting.folder.path().join("perf.data"))]
        }),
        ("bpftrace profile:hz:99, the same stacks", &|| {
            vec![Running::bpftrace(SAME_SAMPLING)]
        }),
    ];
    let pairs = pairs_or(PAIRS);
    println!(
        "what all CPUs together get done in {SECONDS} s, watched against unwatched, {pairs} pairs"
    );
    println!(
        "  {:<42}{:<26}of the watcher's own",
        "", "median (quartiles)"
    );
    let mut measured = [const { [const { Vec::new() }; LOADS.len()] }; 5];
    for pair in 0..pairs {
        for (at, (_, start)) in conditions.iter().enumerate() {
            let of_pair = setting.pair(start, pair % 2 == 1);
            for (all, one) in measured[at].iter_mut().zip(of_pair) {
                all.push(one);
            }
        }
    }
    for (at, load) in LOADS.iter().enumerate() {
        println!("  {load}");
        for ((name, _), all) in conditions.iter().zip(&measured) {
            print_costs(name, &all[at]);
        }
    }
    println!();
}

/// How many pairs the command line asks for.
fn pairs_or(usual: usize) -> usize {
    let given = env::args().find_map(|argument| {
        let number = argument.strip_prefix(PAIRS_OPTION)?.to_owned();
        Some(number)
    });
    given.map_or(usual, |number| {
        let pairs = number.parse().ok().filter(|pairs| *pairs > 0);
        pairs.unwrap_or_else(|| panic!("{PAIRS_OPTION}{number}: use a number from 1 on"))
    })
}

fn print_costs(name: &str, pairs: &[Pair]) {
    let quartiles = |of: fn(&Pair) -> f64| {
        let mut all: Vec<f64> = pairs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        [1, 2, 3].map(|quarter| quantile(&all, f64::from(quarter) / 4.0))
    };
    print!("    {name:<40}");
    for of in [|pair: &Pair| pair.by_time, |pair: &Pair| pair.by_cpu_time] {
        let [most, median, least] = quartiles(of).map(|ratio| (1.0 - ratio) * 100.0);
        print!("{median:>8.2} % ({least:>6.2} to {most:>5.2} %)");
    }
    let [_, own, _] = quartiles(|pair| pair.own * 100.0);
    println!("{own:>9.3} %");
}

/// Of sorted figures, between the two nearest.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    // A place among so few figures is a small number that is not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let part = place - place.floor();
    sorted[below] * (1.0 - part) + sorted[above] * part
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let load = folder.path().join("load");
        build(&load);
        Self { folder, load }
    }

    /// The agent, which does nothing but to profile. Its `window` is to be short enough for what is
    /// done at the end of each to be in the figures, and is shorter than in real life.
    fn agent(&self, hertz: u32, window: &str) -> Running {
        let history = self.folder.path().join("history");
        let settings = format!(
            "hertz = {hertz}\nhistory_window = \"{window}\"\nhistory_directory = \"{}\"\n",
            history.display()
        );
        agent_with(free_port(), &["profile"], "", &settings)
    }

    /// A run with nobody and one that is watched, or the other way round.
    fn pair(&self, start: &dyn Fn() -> Vec<Running>, watched_first: bool) -> [Pair; LOADS.len()] {
        let nobody: &dyn Fn() -> Vec<Running> = NOBODY.1;
        let (first, second) = if watched_first {
            (self.watched(start), self.watched(nobody))
        } else {
            (self.watched(nobody), self.watched(start))
        };
        let (alone, watched) = if watched_first {
            (second, first)
        } else {
            (first, second)
        };
        std::array::from_fn(|load| Pair {
            by_time: watched[load].each_second / alone[load].each_second,
            by_cpu_time: watched[load].each_cpu_second / alone[load].each_cpu_second,
            own: watched[load].own,
        })
    }

    /// What gets done under each load.
    fn watched(&self, start: &dyn Fn() -> Vec<Running>) -> [Run; LOADS.len()] {
        let running = start();
        thread::sleep(WARM_UP);
        let own = || running.iter().map(Running::cpu_ns).sum::<u64>();
        LOADS.map(|load| {
            let (begun, before) = (Instant::now(), own());
            let [done, cpu_ns] = self.run(load);
            let own = (own() - before) as f64;
            let elapsed_ns = begun.elapsed().as_secs_f64() * 1e9;
            Run {
                each_second: done / f64::from(SECONDS),
                each_cpu_second: done / (cpu_ns + own) * 1e9,
                own: own / (elapsed_ns * cpus() as f64),
            }
        })
    }

    /// What the load gets done, and its CPU time in nanoseconds.
    fn run(&self, load: &str) -> [f64; 2] {
        let arguments = [load, &SECONDS.to_string(), &cpus().to_string()];
        let mut command = Command::new(&self.load);
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output = output.expect("the load starts");
        assert!(output.status.success(), "{}", output.status);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers = text.split_whitespace().map(str::parse);
        let numbers: Result<Vec<f64>, _> = numbers.collect();
        let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
        numbers.unwrap_or_else(|| panic!("the load says {text}"))
    }
}

/// With frame pointers, so that all profilers have stacks to walk.
fn build(load: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/overhead/profile/load.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-fno-omit-frame-pointer"]);
    compiler.args(["-fno-optimize-sibling-calls", "-pthread", "-o"]);
    let status = compiler.arg(load).arg(source).status();
    assert!(status.expect("cc").success(), "cc failed");
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
