//! Nanoseconds added to a context switch: two threads on one CPU hand a byte back and forth.
//!
//! The conditions take turns, as in `calls`. A round trip is two switches and two wakeups; the
//! figure is for one of each, with the pipe's system calls in it.

use std::{
    fs,
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    thread,
    time::Duration,
};

use crate::{
    calls::pin_to_last_cpu,
    process::{Running, free_port, median, scrape},
};

const ROUNDS: usize = 7;
const TRIPS: u32 = 100_000;

/// Long enough for the watchers to have settled.
const WARM_UP: Duration = Duration::from_millis(500);

/// The agent with all families off, and with this one on.
const OFF: &str = "process = false\nsched = false";
const ON: &str = "process = true\nsched = true";

/// Its name, and what has to run for it.
type Condition = (&'static str, fn() -> Option<Running>);

pub(crate) fn measure() {
    let conditions: [Condition; 4] = [
        ("nobody watches", || None),
        ("monitoring-agent, sched off", || {
            Some(agent(OFF, free_port(), &[]))
        }),
        ("monitoring-agent, sched on", || {
            Some(agent(ON, free_port(), &[]))
        }),
        ("runqlat", || Some(Running::tracer("runqlat", &["3600"]))),
    ];
    let mut samples = conditions.map(|_| Vec::new());
    for round in 0..ROUNDS {
        let mut order: Vec<_> = (0..conditions.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for condition in order {
            let running = conditions[condition].1();
            thread::sleep(WARM_UP);
            samples[condition].push(switch_ns());
            drop(running);
        }
    }
    let [base, off, on, runqlat] = samples.map(median);
    println!("ns per context switch, median of {ROUNDS} interleaved rounds of {TRIPS} round trips");
    println!("  {:<46}{base:>8.1}", conditions[0].0);
    for ((name, _), total) in conditions[1..].iter().zip([off, on, runqlat]) {
        println!("  {name:<46}{total:>8.1}  adds {:>7.1}", total - base);
    }
    println!(
        "  the agent adds {:.2} of what runqlat adds, and {:.2} of a switch",
        (on - base) / (runqlat - base),
        (on - base) / base
    );
    programs();
}

/// What the kernel measures of each program while the bytes go back and forth.
fn programs() {
    let port = free_port();
    let _running = agent(ON, port, &["--bpf-stats"]);
    switch_ns();
    // The statistics of the last switches come with the next collection.
    thread::sleep(Duration::from_secs(2));
    let metrics = scrape(port, "/metrics");
    let value = |name: &str, program: &str| {
        let sample = format!("{name}{{program=\"{program}\"}} ");
        let mut lines = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(&sample));
        lines.next().and_then(|value| value.parse::<f64>().ok())
    };
    for program in ["sched_switch", "sched_wakeup"] {
        let runs = value("monitoring_agent_bpf_runs_total", program);
        let seconds = value("monitoring_agent_bpf_run_seconds_total", program);
        if let (Some(runs), Some(seconds)) = (runs, seconds) {
            println!(
                "  {program}: {:.0} ns a run, of {runs} runs",
                seconds / runs * 1e9
            );
        }
    }
    println!();
}

/// The agent with these kernel families and no other.
fn agent(families: &str, port: u16, more: &[&str]) -> Running {
    let others = ["syscalls = false", "block = false", "net = false"];
    let sections = families.lines().chain(others).map(|family| {
        let (name, enabled) = family.split_once(" = ").expect("a name and a value");
        format!("[sources.{name}]\nenabled = {enabled}\n")
    });
    let config: String = sections.collect();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), config).expect("write the configuration");
    let path = file.path().to_str().expect("a path in UTF-8");
    let arguments = ["--config", path, "--collection-interval", "1s"];
    // It has read its configuration once it is ready.
    Running::agent(port, &[&arguments, more].concat())
}

/// CPU time of one switch, with what two threads do to cause it.
fn switch_ns() -> f64 {
    let (near_reader, far_writer) = std::io::pipe().expect("a pipe");
    let (far_reader, near_writer) = std::io::pipe().expect("a pipe");
    let far = thread::spawn(move || bounce(far_reader, far_writer));
    let near = thread::spawn(move || {
        pin_to_last_cpu();
        let (mut reader, mut writer) = (near_reader, near_writer);
        let mut trip = || {
            writer.write_all(&[0]).expect("the other thread reads");
            reader
                .read_exact(&mut [0])
                .expect("the other thread answers");
        };
        (0..TRIPS / 10).for_each(|_| trip());
        let begun = cpu_ns();
        (0..TRIPS).for_each(|_| trip());
        (cpu_ns() - begun) / f64::from(TRIPS) / 2.0
    });
    let result = near.join().expect("the near thread does not panic");
    far.join().expect("the far thread does not panic");
    result
}

/// CPU time of this process, which does nothing else meanwhile. The kernel charges what a switch
/// takes to the task that it switches to.
fn cpu_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Sends back what comes, until nothing can come any more.
fn bounce(mut reader: PipeReader, mut writer: PipeWriter) {
    pin_to_last_cpu();
    let mut byte = [0];
    while reader.read_exact(&mut byte).is_ok() {
        writer.write_all(&byte).expect("the other thread waits");
    }
}
