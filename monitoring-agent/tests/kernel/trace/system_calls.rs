//! System calls: which become spans, and what is told of them. Only one kind of call is traced at a
//! time, so that all numbers are those of the test's own calls.

use std::{ptr, time::Duration};

use monitoring_agent::config::Config;
use monitoring_common::trace::{
    Record, SystemCallDetail, ThreadContext, TraceCounts, flags,
    kind::{NAMES, SYSTEM_CALL},
};

use super::ring::{Spans, only_system_calls, traced};
use crate::{
    node::{Node, losses},
    work,
};

type Call = Record<SystemCallDetail>;

fn node(call: &str, change: impl FnOnce(&mut Config)) -> (Node, Spans) {
    limited(call, &[], change)
}

fn limited(
    call: &str,
    limits: &[(&'static str, u32)],
    change: impl FnOnce(&mut Config),
) -> (Node, Spans) {
    let node = Node::limited(&["process", "syscalls"], limits, |config| {
        traced(config, |config| {
            only_system_calls(&[call], config);
            change(config);
        });
    });
    let spans = Spans::of(&node);
    (node, spans)
}

/// What was counted of system calls; nothing else was.
fn counted(spans: &Spans) -> (u64, u64, u64, u64) {
    let counts = spans.counts();
    let mut others = counts;
    others.generated[SYSTEM_CALL] = 0;
    others.sampled_out[SYSTEM_CALL] = 0;
    (others.capped, others.ring_full) = (0, 0);
    assert_eq!(others, TraceCounts::EMPTY);
    (
        counts.generated[SYSTEM_CALL],
        counts.sampled_out[SYSTEM_CALL],
        counts.capped,
        counts.ring_full,
    )
}

fn calls(spans: &mut Spans) -> Vec<Call> {
    spans.of_kind(SYSTEM_CALL)
}

fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// Makes a call of `nanosleep` that lasts so long, or, without a time, one that is refused at once.
fn nap(duration: Option<Duration>) {
    let request = libc::timespec {
        tv_sec: 0,
        tv_nsec: duration.map_or(-1, |duration| duration.subsec_nanos().into()),
    };
    // SAFETY: the request lives across the call; no remainder is asked for.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const request, ptr::null::<u8>()) };
}

#[test]
fn slow_calls_are_told_with_all_that_is_known_of_them() {
    let (mut node, mut spans) = node("nanosleep", |config| {
        config.sources.trace.slow_system_call = Some(Duration::from_millis(100));
    });
    let begun = monotonic_ns();
    for _ in 0..5 {
        nap(Some(Duration::from_millis(150)));
        nap(None);
    }
    let ended = monotonic_ns();
    let calls = calls(&mut spans);
    assert_eq!(counted(&spans), (5, 0, 0, 0));
    assert_eq!(calls.len(), 5);
    let mut last = begun;
    for Record { header, detail } in calls {
        assert!(header.start_ns >= last && header.end_ns <= ended);
        assert!(header.end_ns - header.start_ns >= 150_000_000);
        last = header.end_ns;
        assert_eq!(header.call_start_ns, header.start_ns);
        assert_eq!(
            (header.window_start_ns, header.code, header.flags),
            (0, 0, 0)
        );
        assert_eq!(header.pid, std::process::id());
        // SAFETY: the call has no preconditions.
        assert_eq!(header.tid, unsafe { libc::gettid() }.cast_unsigned());
        assert_eq!(header.agent, 1);
        assert_eq!(usize::from(header.kind), SYSTEM_CALL, "{}", NAMES[0]);
        assert_eq!(header.context, ThreadContext::NONE);
        let name = std::fs::read("/proc/thread-self/comm").unwrap();
        let end = header.comm.iter().position(|byte| *byte == 0).unwrap();
        assert_eq!(header.comm[..end], name[..name.len() - 1]);
        assert_eq!(header.process_start_ns / 10_000_000, own_start_ticks());
        assert_eq!(i64::from(detail.syscall), libc::SYS_nanosleep);
        assert_eq!((detail.result, detail.reserved), (0, 0));
    }
    assert_eq!(losses(&node.collect("syscalls")), []);
}

/// When this process started, in hundredths of a second since the boot.
fn own_start_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(19).unwrap().parse().unwrap()
}

#[test]
fn one_of_a_hundred_is_drawn() {
    let (_node, mut spans) = node("getppid", |config| config.trace_sample_rate = 0.01);
    let mut told = 0;
    for _ in 0..100 {
        work::getppid_on_all_cpus(2, 500);
        told += calls(&mut spans).len() as u64;
    }
    let (generated, sampled_out, capped, ring_full) = counted(&spans);
    assert_eq!(generated, 100_000);
    assert_eq!(generated, told + sampled_out);
    assert_eq!((capped, ring_full), (0, 0));
    // A thousand, with a standard deviation of 31.5: seven of them happen once in 10¹² runs.
    assert!((780..=1_220).contains(&told), "{told} of 100,000");
}

#[test]
fn all_or_none_are_drawn_where_that_is_asked_for() {
    let (all, mut spans) = node("getppid", |_| ());
    work::getppid_on_all_cpus(4, 500);
    assert_eq!(calls(&mut spans).len(), 2_000);
    assert_eq!(counted(&spans), (2_000, 0, 0, 0));
    drop(all);
    let (_none, mut spans) = node("getppid", |config| config.trace_sample_rate = 0.0);
    work::getppid_on_all_cpus(4, 500);
    assert_eq!(calls(&mut spans).len(), 0);
    assert_eq!(counted(&spans), (2_000, 2_000, 0, 0));
}

#[test]
fn what_the_ring_has_no_room_for_is_counted() {
    let (_node, mut spans) = limited("getppid", &[("SPANS", 4_096)], |_| ());
    work::getppid(1_000);
    let told = calls(&mut spans).len() as u64;
    // Each takes its 112 bytes and 8 of the ring's own.
    assert_eq!(told, 4_096 / 120);
    assert_eq!(counted(&spans), (1_000, 0, 0, 1_000 - told));
    work::getppid(10);
    assert_eq!(calls(&mut spans).len(), 10);
    assert_eq!(counted(&spans), (1_010, 0, 0, 1_000 - told));
}

#[test]
fn a_second_has_so_many_spans_and_no_more() {
    const CAP: u32 = 50;
    let (_node, mut spans) = node("getppid", |config| {
        config.sources.trace.spans_per_second = CAP;
    });
    let until = monotonic_ns() + 2_500_000_000;
    let mut made = 0;
    while monotonic_ns() < until {
        work::getppid_on_all_cpus(2, 100);
        made += 200;
    }
    let calls = calls(&mut spans);
    let mut seconds = std::collections::BTreeMap::new();
    for call in &calls {
        *seconds
            .entry(call.header.end_ns / 1_000_000_000)
            .or_insert(0) += 1;
    }
    // Two and a half seconds are parts of three or four.
    assert!((3..=4).contains(&seconds.len()), "{seconds:?}");
    // All of them had more than 50 calls to offer, but for the last, if it had only begun.
    let (_, last) = seconds.pop_last().unwrap();
    assert!(last <= CAP, "{last}");
    assert!(seconds.values().all(|used| *used == CAP), "{seconds:?}");
    let told = calls.len() as u64;
    assert_eq!(counted(&spans), (made, 0, made - told, 0));
}

/// Calls that fail with `ESRCH`.
fn fail(times: u64) {
    for _ in 0..times {
        // SAFETY: the call has no preconditions.
        unsafe { libc::syscall(libc::SYS_getpgid, i32::MAX) };
    }
}

#[test]
fn errors_are_told_whatever_is_drawn() {
    let (_node, mut spans) = node("getpgid", |config| {
        config.trace_sample_rate = 0.0;
        config.sources.trace.slow_system_call = Some(Duration::from_hours(1));
        config.sources.trace.errors = vec![libc::ESRCH.unsigned_abs()];
    });
    fail(100);
    // SAFETY: the call has no preconditions.
    unsafe { libc::syscall(libc::SYS_getpgid, 0) };
    let calls = calls(&mut spans);
    assert_eq!(counted(&spans), (100, 0, 0, 0));
    assert_eq!(calls.len(), 100);
    for Record { header, detail } in calls {
        assert_eq!(header.flags, flags::FAILED | flags::FOR_FAILURE);
        assert_eq!((header.code, detail.result), (libc::ESRCH, -3));
    }
}

#[test]
fn other_errors_are_told_like_any_call() {
    let (_node, mut spans) = node("getpgid", |config| {
        config.sources.trace.errors = vec![libc::EPERM.unsigned_abs()];
    });
    fail(100);
    let calls = calls(&mut spans);
    assert_eq!(counted(&spans), (100, 0, 0, 0));
    assert_eq!(calls.len(), 100);
    for Record { header, .. } in calls {
        assert_eq!((header.flags, header.code), (flags::FAILED, libc::ESRCH));
    }
}

#[test]
fn what_is_switched_off_is_no_candidate() {
    let (_node, mut spans) = node("getpgid", |config| {
        config.sources.trace.slow_system_call = None;
        config.sources.trace.errors = vec![libc::ESRCH.unsigned_abs()];
    });
    fail(100);
    assert_eq!(spans.take().len(), 0);
    assert_eq!(counted(&spans), (0, 0, 0, 0));
}

#[test]
fn others_are_traced_only_if_all_are() {
    use monitoring_agent::config::TraceAgents;

    let others = |agents: TraceAgents| {
        let (_node, mut spans) = node("getppid", |config| {
            config.agents.clear();
            config.sources.trace.agents = agents;
        });
        work::getppid(100);
        let own = std::process::id();
        let calls = calls(&mut spans);
        let own = calls.iter().filter(|call| call.header.pid == own);
        assert!(own.clone().all(|call| call.header.agent == 0));
        own.count()
    };
    assert_eq!(others(TraceAgents::Watched), 0);
    assert_eq!(others(TraceAgents::All), 100);
}

#[test]
fn a_call_without_an_entry_has_no_duration_and_is_no_span() {
    let (_node, mut spans) = node("getpgid", |config| {
        config.sources.trace.errors = vec![libc::ESRCH.unsigned_abs()];
    });
    let status = work::in_fork(|| {
        work::refuse_with_first_argument([libc::SYS_getpgid, libc::SYS_getsid]);
        for _ in 0..10 {
            // SAFETY: no memory is involved.
            unsafe { libc::syscall(libc::SYS_getpgid, libc::ESRCH) };
        }
    });
    assert_eq!(status, 0);
    assert_eq!(spans.take().len(), 0);
    assert_eq!(counted(&spans), (0, 0, 0, 0));
}

#[test]
fn numbers_of_other_tables_are_marked() {
    let (_node, mut spans) = node("getpgid", |_| ());
    // SAFETY: the kernel refuses it.
    unsafe { libc::syscall(100_000) };
    let calls = calls(&mut spans);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].header.flags, flags::FAILED | flags::UNKNOWN_CALL);
    assert_eq!(calls[0].header.code, libc::ENOSYS);
}
