//! A program that is known to spend 60, 30 and 10 % of its time in three functions, beside what
//! perf sees of the same run.

use std::{num::NonZero, thread, time::Duration};

use super::{
    capture::{Capture, PPROF, Stacks, agent, has_chain, is_of, shown, stacks, sum_of},
    perf::{Recording, distance},
    workload::Workload,
};

const HERTZ: u32 = 99;

/// How long is captured, and how much of that the program works: perf and the test have the rest.
const CAPTURED_SECONDS: u32 = 60;
const WORKED_SECONDS: u32 = 54;

/// The ways to the three functions, and their shares of the time in per cent.
const CHAINS: [(&[&str], f64); 3] = [
    (&["work", "first_of_sixty", "sixty"], 60.0),
    (
        &[
            "work",
            "first_of_thirty",
            "second_of_thirty",
            "third_of_thirty",
            "thirty",
        ],
        30.0,
    ),
    (
        &[
            "work", "deep", "deep", "deep", "deep", "deep", "deep", "deep", "ten",
        ],
        10.0,
    ),
];

/// Where the program's own stacks begin. What calls these is the C library's, which has no frame
/// pointers.
const BEGINNINGS: [&str; 2] = ["main", "thread"];

/// The part of the stacks that is the program's.
fn of_program(stacks: &Stacks) -> Stacks {
    let mut cut = Stacks::new();
    for (stack, samples) in stacks {
        let names = stack.iter().map(String::as_str);
        let begin = names.clone().position(|name| BEGINNINGS.contains(&name));
        let stack = stack[begin.unwrap_or(0)..].to_vec();
        *cut.entry(stack).or_default() += samples;
    }
    cut
}

/// `shared`: which part of the CPUs the program did not have, where it is chance what is hit.
fn check_split(stacks: &Stacks, shared: f64) {
    let total = sum_of(stacks, |_| true) as f64;
    let mut seen = 0.0;
    for (chain, want) in CHAINS {
        // In a thread all of it is one level further in.
        let whole = |stack: &[String]| {
            BEGINNINGS.iter().any(|begin| {
                let whole = [&[*begin], chain].concat();
                has_chain(stack, &whole)
            })
        };
        let percent = sum_of(stacks, whole) as f64 / total * 100.0;
        seen += percent;
        println!("{}: {percent:.2} % of {want} %", chain.last().unwrap());
        let chance = 3.0 * (shared * want * (100.0 - want) / total).sqrt();
        assert!(
            (percent - want).abs() <= 2.0 + chance,
            "{chain:?}: {percent:.2} %, not {want} %\n{}",
            shown(stacks)
        );
    }
    assert!(
        seen >= 99.0,
        "only {seen:.2} % with all their callers\n{}",
        shown(stacks)
    );
}

/// Which part of the CPUs the program did not have.
fn shared(cpu_seconds: f64, threads: f64) -> f64 {
    (1.0 - cpu_seconds / (f64::from(WORKED_SECONDS) * threads)).max(0.0)
}

/// How far two takings of so many samples of these stacks are apart by chance, at most: for each
/// stack the mean distance of two counts, half of it because what one stack has more another has
/// less, and half as much again.
fn chance_distance(stacks: &Stacks) -> f64 {
    let total = sum_of(stacks, |_| true) as f64;
    let roots = stacks.values().map(|count| (*count as f64).sqrt());
    roots.sum::<f64>() / total * (1.0 / std::f64::consts::PI).sqrt() * 1.5
}

/// The CPUs take their samples at a fixed rate, whatever runs. A program that has them to itself
/// gets all of them; of one that shares them it is chance how many hit it.
fn check_rate(samples: f64, cpu_seconds: f64, shared: f64) {
    let chance = 3.0 * (shared / samples).sqrt();
    let off = samples / cpu_seconds / f64::from(HERTZ) - 1.0;
    println!(
        "{samples} samples in {cpu_seconds:.2} s of CPU time: {:+.2} %, by chance {:.2} %",
        off * 100.0,
        chance * 100.0
    );
    assert!(off.abs() <= 0.02 + chance, "{off}");
}

#[test]
fn a_known_split_is_seen_and_perf_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let arguments = [WORKED_SECONDS.to_string(), threads.to_string()];
    let mut split = Workload::start(folder.path(), "split", &arguments.each_ref().map(|a| &**a));
    let perf = Recording::start(folder.path(), split.pid(), HERTZ);
    let query = format!("hz={HERTZ}&pid={}", split.pid());
    let capture = Capture::begin(&agent, PPROF, CAPTURED_SECONDS, &query);
    split.begin();
    let [cpu_ns] = split.done(Duration::from_secs(WORKED_SECONDS.into()));
    capture.must_still_run();
    let theirs = of_program(&perf.stacks());
    let profile = capture.profile();
    let others = profile
        .samples()
        .filter(|sample| !is_of(sample, split.pid()));
    assert_eq!(others.count(), 0, "samples of other processes");

    let ours = of_program(&stacks(&profile, "samples", |_| true));
    let shared = shared(cpu_ns as f64 / 1e9, threads as f64);
    check_split(&ours, shared);
    let distance = distance(&ours, &theirs);
    let of_perf = sum_of(&theirs, |_| true);
    println!(
        "perf: {of_perf} samples, distance {:.2} %",
        distance * 100.0
    );
    let both = || format!("{distance}\n{}\n{}", shown(&ours), shown(&theirs));
    // A program that has the CPUs to itself is hit by both at fixed times. Of one that shares them,
    // it is chance which of them hits what.
    let chance = shared.sqrt() * chance_distance(&ours);
    assert!(distance <= 0.03 + chance, "{chance} {}", both());

    let samples = sum_of(&ours, |_| true) as f64;
    check_rate(samples, cpu_ns as f64 / 1e9, shared);
    let nanoseconds = stacks(&profile, "cpu", |_| true).values().sum::<i64>() as f64;
    let off = nanoseconds / 1e9 * f64::from(HERTZ) / samples - 1.0;
    assert!(off.abs() < 1e-6, "{nanoseconds} ns in {samples} samples");
    split.end();
}
