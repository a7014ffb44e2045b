//! Microseconds added to the life of a process: one that only forks and ends, and one that also
//! executes a program. Beside libbpf-tools' `execsnoop` and `exitsnoop`, which report the same
//! events one by one.
//!
//! Conditions take turns; the figure is the median over the rounds of the wall time of one life on
//! a CPU of its own.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    agent::{agent, print_run_times},
    calls::{in_thread, pin_to_last_cpu},
    process::{Running, free_port},
    turns::{Condition, NOBODY, medians},
};

const ROUNDS: usize = 5;
const FORKS: u32 = 2_000;
const EXECS: u32 = 500;

/// Longer than the agent's interval, after which its start is over.
const WARM_UP: Duration = Duration::from_millis(1_500);

const FAMILIES: [&str; 1] = ["process"];

pub(crate) fn measure() {
    let conditions: [Condition<'_>; 3] = [
        NOBODY,
        ("monitoring-agent, family process", &|| {
            vec![agent(free_port(), &FAMILIES, false)]
        }),
        ("execsnoop and exitsnoop", &|| {
            vec![
                Running::tracer("execsnoop", &[]),
                Running::tracer("exitsnoop", &[]),
            ]
        }),
    ];
    let results = medians(ROUNDS, &conditions, || in_thread(lives_us));
    println!("µs for the life of a process, median of {ROUNDS} interleaved rounds");
    println!(
        "  {:<34}{:>12}{:>9}{:>14}{:>9}",
        "", "fork, exit", "adds", "and exec", "adds"
    );
    for ((name, _), [forks, execs]) in conditions.iter().zip(results) {
        let (forks_more, execs_more) = (forks - results[0][0], execs - results[0][1]);
        println!("  {name:<34}{forks:>12.1}{forks_more:>9.1}{execs:>14.1}{execs_more:>9.1}");
    }
    print_run_times(&FAMILIES, || {
        in_thread(lives_us);
    });
}

/// Without and with a program that is executed, once the watchers are warm.
fn lives_us() -> [f64; 2] {
    pin_to_last_cpu();
    let warm = Instant::now();
    while warm.elapsed() < WARM_UP {
        fork();
    }
    [each_us(FORKS, fork), each_us(EXECS, exec)]
}

fn each_us(times: u32, live: fn()) -> f64 {
    let begun = Instant::now();
    for _ in 0..times {
        live();
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn fork() {
    // SAFETY: the child makes one system call, which ends it; the parent waits for it.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        assert!(child > 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
    }
}

fn exec() {
    let status = Command::new("/bin/true").status();
    assert!(status.expect("/bin/true starts").success());
}
