//! Family `syscalls`: what this process does is counted, exactly.

mod unusual;

use std::{ptr, time::Instant};

use aya::programs::{ProgramInfo, loaded_programs};
use monitoring_agent::source::Batch;
use prometheus::proto::{Bucket, Metric, MetricFamily};

use crate::{
    node::{ME, Node, count, counter, losses, sample},
    work,
};

const SOURCE: &str = "syscalls";

fn calls(batch: &Batch, syscall: &str) -> u64 {
    counter(
        batch,
        "syscall_total",
        &[("agent", ME), ("syscall", syscall)],
    )
}

fn errors(batch: &Batch, syscall: &str, errno: &str) -> u64 {
    let labels = [("agent", ME), ("syscall", syscall), ("errno", errno)];
    counter(batch, "syscall_errors_total", &labels)
}

/// Count and sum in seconds of a call's histogram.
fn durations(batch: &Batch, syscall: &str) -> (u64, f64) {
    let labels = [("agent", ME), ("syscall", syscall)];
    sample(batch, "syscall_duration_seconds", &labels).map_or((0, 0.0), |metric| {
        let histogram = metric.get_histogram();
        (histogram.get_sample_count(), histogram.get_sample_sum())
    })
}

/// Does `work` while the family counts; gives the numbers from before and after.
fn counted(work: impl FnOnce()) -> (Batch, Batch) {
    let mut node = Node::start(&["process", SOURCE]);
    let before = node.collect(SOURCE);
    work();
    let after = node.collect(SOURCE);
    assert_eq!(losses(&after), [], "nothing may be lost");
    (before, after)
}

#[test]
fn a_million_calls_of_one_thread() {
    let (before, after) = counted(|| work::getppid(1_000_000));
    assert_eq!(
        calls(&after, "getppid") - calls(&before, "getppid"),
        1_000_000
    );
    assert_eq!(durations(&after, "getppid").0, calls(&after, "getppid"));
}

#[test]
fn a_million_calls_of_four_threads_on_all_cpus() {
    let (before, after) = counted(|| work::getppid_on_all_cpus(4, 250_000));
    assert_eq!(
        calls(&after, "getppid") - calls(&before, "getppid"),
        1_000_000
    );
    assert_eq!(durations(&after, "getppid").0, calls(&after, "getppid"));
}

#[test]
fn counts_stay_exact_when_a_call_gets_its_place() {
    let mut node = Node::start(&["process", SOURCE]);
    for round in 1..=5 {
        work::getppid_on_all_cpus(2, 1_000);
        let batch = node.collect(SOURCE);
        assert_eq!(losses(&batch), []);
        assert_eq!(calls(&batch, "getppid"), round * 2_000);
        assert_eq!(durations(&batch, "getppid").0, round * 2_000);
        let places = batch.maps.iter().find(|map| map.name == "HOT").unwrap();
        assert!(places.entries > Some(0), "2,000 calls are often");
    }
}

#[test]
fn histogram_buckets_end_with_all_calls() {
    let (_, after) = counted(|| work::getppid(10_000));
    let labels = [("agent", ME), ("syscall", "getppid")];
    let metric = sample(&after, "syscall_duration_seconds", &labels).unwrap();
    let buckets = metric.get_histogram().get_bucket();
    assert!(buckets.is_sorted_by_key(Bucket::cumulative_count));
    // No getppid takes 16 s.
    assert_eq!(buckets.last().unwrap().cumulative_count(), 10_000);
}

#[test]
fn failing_calls_are_counted_by_errno() {
    let (_, after) = counted(|| {
        for _ in 0..1_000 {
            // SAFETY: neither call touches memory that matters: a bad descriptor, a null path.
            unsafe {
                libc::syscall(libc::SYS_fchdir, -1);
                libc::syscall(libc::SYS_chdir, ptr::null::<libc::c_char>());
                libc::syscall(libc::SYS_chdir, c"/does/not/exist".as_ptr());
            }
        }
    });
    assert_eq!(calls(&after, "fchdir"), 1_000);
    assert_eq!(errors(&after, "fchdir", "EBADF"), 1_000);
    assert_eq!(calls(&after, "chdir"), 2_000);
    assert_eq!(errors(&after, "chdir", "EFAULT"), 1_000);
    assert_eq!(errors(&after, "chdir", "ENOENT"), 1_000);
}

#[test]
fn waiting_is_part_of_a_duration() {
    let begun = Instant::now();
    let (_, after) = counted(|| {
        for _ in 0..5 {
            let request = libc::timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            // SAFETY: the request lives across the call; no remainder is asked for.
            unsafe { libc::syscall(libc::SYS_nanosleep, &raw const request, ptr::null::<u8>()) };
        }
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let (count, seconds) = durations(&after, "nanosleep");
    assert_eq!(count, 5);
    assert!(
        (0.1..elapsed).contains(&seconds),
        "5 sleeps of 20 ms took {seconds} s of {elapsed} s"
    );
}

#[test]
fn what_does_not_fit_is_counted_as_lost() {
    let mut node = Node::start(&["process", SOURCE]);
    let status = work::in_fork(|| {
        work::refuse_with_first_argument([libc::SYS_getpgid, libc::SYS_getsid]);
        for errno in 1..=4_095 {
            // SAFETY: no memory is involved.
            unsafe {
                libc::syscall(libc::SYS_getpgid, errno);
                libc::syscall(libc::SYS_getsid, errno);
            }
        }
    });
    assert_eq!(status, 0);
    let batch = node.collect(SOURCE);
    let lost: u64 = losses(&batch).iter().map(|(_, count)| count).sum();
    assert!(
        lost > 0,
        "8,190 kinds of error do not fit into 4,096 entries"
    );
    assert_eq!(losses(&batch), [("errors_full", lost)]);
    let family = batch
        .families
        .iter()
        .find(|family| family.name() == "syscall_errors_total");
    let kept: u64 = family
        .unwrap()
        .get_metric()
        .iter()
        .filter(|metric| {
            let of = |text| metric.get_label().iter().any(|label| label.value() == text);
            of("getpgid") || of("getsid")
        })
        .map(count)
        .sum();
    // Other processes' errors may have taken entries and may have been lost, too.
    assert!(kept <= 4_096, "{kept} errors in 4,096 entries");
    assert!(kept + lost >= 8_190, "{kept} kept and {lost} lost of 8,190");
    // The calls themselves are all there.
    assert_eq!(calls(&batch, "getpgid") + calls(&batch, "getsid"), 8_190);
}

#[test]
fn only_watched_agents() {
    let mut node = Node::with(&["process", SOURCE], |config| {
        config.sources.syscalls.watched_only = true;
    });
    work::getppid(1_000);
    let batch = node.collect(SOURCE);
    assert_eq!(calls(&batch, "getppid"), 1_000);
    assert_eq!(losses(&batch), []);
    let labels = batch.families.iter().flat_map(MetricFamily::get_metric);
    let labels = labels.flat_map(Metric::get_label);
    assert_eq!(labels.filter(|label| label.value() == "other").count(), 0);
}

#[test]
fn debug_messages_come_only_when_asked_for() {
    work::capture_log();
    let refuse = || {
        let status = work::in_fork(|| {
            work::refuse_with_first_argument([libc::SYS_getpgid, libc::SYS_getsid]);
            // SAFETY: no memory is involved.
            unsafe { libc::syscall(libc::SYS_getpgid, libc::EPERM) };
        });
        assert_eq!(status, 0);
    };
    let message = format!("system call {} without", libc::SYS_getpgid);
    let node = Node::with(&["process", SOURCE], |config| config.ebpf_debug = true);
    crate::poll::poll_until("the kernel program's debug message", || {
        refuse();
        work::captured()
            .iter()
            .any(|line| line.contains(&message))
            .then_some(())
    });
    let with_messages = instructions();
    drop(node);
    let _node = Node::start(&["process", SOURCE]);
    let without = instructions();
    // The verifier has removed what a constant forbids: it costs nothing.
    assert!(
        without < with_messages,
        "{without} and {with_messages} bytes of instructions"
    );
}

/// Size of the loaded programs that log, the newest of each name, after the verifier's work.
fn instructions() -> u32 {
    let exits = loaded_programs().filter_map(Result::ok);
    let exits = exits.filter(|info| info.name_as_str() == Some("sys_exit"));
    let newest = exits.max_by_key(ProgramInfo::id).unwrap();
    newest.size_translated().unwrap()
}
