//! Nanoseconds added to a system call, in a loop of the cheapest one there is.
//!
//! The conditions take turns, so that whatever else the machine does falls on all of them; the
//! figure is the median over the rounds. The loop's own CPU time is counted, not wall time.

use std::{
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

use crate::{
    agent::{agent, print_run_times},
    process::{Running, free_port},
    turns::{Condition, NOBODY, medians, print_added},
};

const ROUNDS: usize = 7;
const CALLS: u32 = 1_000_000;

/// Longer than the agent's interval, at the end of which it has seen which calls are made often.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// The family that counts calls, and the one that labels processes.
const FAMILIES: [&str; 2] = ["process", "syscalls"];

/// What the agent does, in bpftrace's words: counts, errors by number, durations.
const SAME_COUNTING: &str = "
    tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; }
    tracepoint:raw_syscalls:sys_exit /@start[tid]/ {
        @durations[args->id] = hist(nsecs - @start[tid]);
        delete(@start[tid]);
        if (args->ret < 0) { @errors[args->id, args->ret] = count(); }
    }";

/// Counts alone: no durations, no errors, one probe.
const COUNTS_ONLY: &str = "tracepoint:raw_syscalls:sys_enter { @[args->id] = count(); }";

pub(crate) fn measure() {
    let conditions: [Condition<'_>; 4] = [
        NOBODY,
        ("monitoring-agent: counts, errors, durations", &|| {
            vec![agent(free_port(), &FAMILIES, false)]
        }),
        ("bpftrace, the same counting", &|| {
            vec![Running::bpftrace(SAME_COUNTING)]
        }),
        ("bpftrace, counts alone", &|| {
            vec![Running::bpftrace(COUNTS_ONLY)]
        }),
    ];
    let figures = medians(ROUNDS, &conditions, || [in_thread(warm_loop_ns)]);
    let figures = figures.map(|[figure]| figure);
    println!("ns per getppid, median of {ROUNDS} interleaved rounds of {CALLS} calls");
    print_added(&conditions, figures);
    let [base, agent, same, counts] = figures;
    let (ours, same, counts) = (agent - base, same - base, counts - base);
    println!(
        "  the agent adds {:.2} of what bpftrace adds for the same counting",
        ours / same
    );
    println!(
        "  the agent adds {:.2} of what bpftrace adds for counts alone",
        ours / counts
    );
    print_run_times(&FAMILIES, || {
        in_thread(warm_loop_ns);
    });
}

/// On a thread of its own: programs that this one starts would inherit its CPU.
pub(crate) fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = thread::spawn(work).join();
    done.expect("the loop does not panic")
}

/// Keeps the loop off CPU 0, where bpftrace opens its perf event: there its probes cost twice as
/// much, and the comparison is with bpftrace at its best.
pub(crate) fn pin_to_last_cpu() {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    // SAFETY: the set is a plain bit field, and the CPU is within it.
    let result = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(cpus - 1, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// CPU time of one call once the watcher is warm.
pub(crate) fn warm_loop_ns() -> f64 {
    pin_to_last_cpu();
    let warm = Instant::now();
    while warm.elapsed() < WARM_UP {
        loop_ns();
    }
    loop_ns()
}

/// CPU time of one call in this thread.
fn loop_ns() -> f64 {
    let begun = thread_cpu_ns();
    for _ in 0..CALLS {
        // SAFETY: the call has no arguments.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    (thread_cpu_ns() - begun) / f64::from(CALLS)
}

pub(crate) fn thread_cpu_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
