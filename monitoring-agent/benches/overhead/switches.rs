//! Nanoseconds added to a context switch: two threads on one CPU hand a byte back and forth.
//!
//! The conditions take turns, as in `calls`. A round trip is two switches and two wakeups; the
//! figure is for one of each, with the pipe's system calls in it.

use std::{
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    thread,
    time::Duration,
};

use crate::{
    agent::{agent, print_run_times},
    calls::pin_to_last_cpu,
    process::{Running, free_port},
    turns::{Condition, NOBODY, medians, print_added},
};

const ROUNDS: usize = 7;
const TRIPS: u32 = 100_000;

/// Long enough for the watchers to have settled.
const WARM_UP: Duration = Duration::from_millis(500);

/// The agent without the family and with it.
const OFF: [&str; 1] = ["process"];
const ON: [&str; 2] = ["process", "sched"];

pub(crate) fn measure() {
    let conditions: [Condition<'_>; 4] = [
        NOBODY,
        ("monitoring-agent, sched off", &|| {
            vec![agent(free_port(), &OFF, false)]
        }),
        ("monitoring-agent, sched on", &|| {
            vec![agent(free_port(), &ON, false)]
        }),
        ("runqlat", &|| vec![Running::tracer("runqlat", &["3600"])]),
    ];
    let figures = medians(ROUNDS, &conditions, || {
        thread::sleep(WARM_UP);
        [switch_ns()]
    });
    let figures = figures.map(|[figure]| figure);
    println!("ns per context switch, median of {ROUNDS} interleaved rounds of {TRIPS} round trips");
    print_added(&conditions, figures);
    let [base, _, on, runqlat] = figures;
    println!(
        "  the agent adds {:.2} of what runqlat adds, and {:.2} of a switch",
        (on - base) / (runqlat - base),
        (on - base) / base
    );
    print_run_times(&ON, || {
        switch_ns();
    });
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
