//! Nanoseconds added to a system call, in a loop of the cheapest one there is.
//!
//! The conditions take turns, so that whatever else the machine does falls on all of them; the
//! figure is the median over the rounds. The loop's own CPU time is counted, not wall time.

use std::{
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

use crate::process::{Running, free_port, median};

const ROUNDS: usize = 7;
const CALLS: u32 = 1_000_000;

/// Longer than the agent's interval, at the end of which it has seen which calls are made often.
const WARM_UP: Duration = Duration::from_millis(1_500);

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

/// Its name, and what has to run for it.
type Condition = (&'static str, fn() -> Option<Running>);

pub(crate) fn measure() {
    let conditions: [Condition; 4] = [
        ("nobody watches", || None),
        ("monitoring-agent: counts, errors, durations", || {
            let interval = ["--collection-interval", "1s"];
            Some(Running::agent(free_port(), &interval))
        }),
        ("bpftrace, the same counting", || {
            Some(Running::bpftrace(SAME_COUNTING))
        }),
        ("bpftrace, counts alone", || {
            Some(Running::bpftrace(COUNTS_ONLY))
        }),
    ];
    let mut samples = conditions.map(|_| Vec::new());
    for round in 0..ROUNDS {
        // Forwards and backwards in turn: a drift of the machine falls on all alike.
        let mut order: Vec<_> = (0..conditions.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for condition in order {
            let running = conditions[condition].1();
            // A thread of its own: programs that this one starts would inherit its CPU.
            let looped = thread::spawn(warm_loop_ns).join();
            samples[condition].push(looped.expect("the loop does not panic"));
            drop(running);
        }
    }
    let [base, agent, same, counts] = samples.map(median);
    println!("ns per getppid, median of {ROUNDS} interleaved rounds of {CALLS} calls");
    println!("  {:<46}{base:>8.1}", conditions[0].0);
    for ((name, _), total) in conditions[1..].iter().zip([agent, same, counts]) {
        println!("  {name:<46}{total:>8.1}  adds {:>7.1}", total - base);
    }
    let (ours, same, counts) = (agent - base, same - base, counts - base);
    println!(
        "  the agent adds {:.2} of what bpftrace adds for the same counting",
        ours / same
    );
    println!(
        "  the agent adds {:.2} of what bpftrace adds for counts alone\n",
        ours / counts
    );
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
fn warm_loop_ns() -> f64 {
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

fn thread_cpu_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
