//! Family `syscalls`: what this process does is counted, exactly.

use std::{ptr, thread, time::Instant};

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
fn numbers_that_no_table_has() {
    let (_, after) = counted(|| {
        // SAFETY: the kernel refuses both.
        unsafe {
            libc::syscall(511);
            libc::syscall(100_000);
            libc::syscall(100_001);
        }
    });
    assert_eq!(
        (
            calls(&after, "unknown_511"),
            errors(&after, "unknown_511", "ENOSYS")
        ),
        (1, 1)
    );
    assert_eq!(
        (
            calls(&after, "invalid"),
            errors(&after, "invalid", "ENOSYS")
        ),
        (2, 2)
    );
}

#[test]
fn a_fork_returns_twice_and_counts_once() {
    let (_, after) = counted(|| {
        for _ in 0..100 {
            assert_eq!(work::in_fork(|| work::getppid(1)), 0);
        }
    });
    let forks = ["fork", "vfork", "clone", "clone3"].map(|name| calls(&after, name));
    assert_eq!(
        forks.iter().sum::<u64>(),
        100,
        "fork, vfork, clone, clone3: {forks:?}"
    );
    // The children inherit the label before their first instruction.
    assert_eq!(calls(&after, "getppid"), 100);
    // exit_group never returns and has no duration.
    assert_eq!(calls(&after, "exit_group"), 100);
    assert_eq!(durations(&after, "exit_group").0, 0);
}

#[test]
fn threads_end_with_exit() {
    let (before, after) = counted(|| {
        (0..50).for_each(|_| thread::spawn(|| ()).join().unwrap());
    });
    assert_eq!(calls(&after, "exit") - calls(&before, "exit"), 50);
}

#[test]
fn calls_that_seccomp_refuses() {
    let (_, after) = counted(|| {
        let status = work::in_fork(|| {
            work::refuse_with_first_argument([libc::SYS_getpgid, libc::SYS_getsid]);
            for _ in 0..200 {
                // SAFETY: no memory is involved.
                unsafe { libc::syscall(libc::SYS_getpgid, libc::ENOTBLK) };
            }
        });
        assert_eq!(status, 0);
    });
    assert_eq!(calls(&after, "getpgid"), 200);
    assert_eq!(errors(&after, "getpgid", "ENOTBLK"), 200);
    // The kernel skips the entry tracepoint for them: there is no duration.
    assert_eq!(durations(&after, "getpgid").0, 0);
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

/// A call of the 32-bit table, by a 64-bit process.
#[cfg(target_arch = "x86_64")]
fn call_32(number: u32, argument: u32) {
    // SAFETY: the callers choose calls that touch no memory. rbx is the compiler's own, so the
    // argument is swapped in and out of it.
    unsafe {
        std::arch::asm!(
            "xchg {argument:r}, rbx",
            "int 0x80",
            "xchg {argument:r}, rbx",
            argument = inout(reg) u64::from(argument) => _,
            inout("rax") u64::from(number) => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_the_32_bit_table() {
    use syscalls::x86::Sysno;
    let number = |call: Sysno| call.id().unsigned_abs();
    let mut node = Node::start(&["process", SOURCE]);
    let status = work::in_fork(|| {
        for _ in 0..100 {
            call_32(number(Sysno::getppid), 0);
            // The number of the native `exit`.
            call_32(number(Sysno::umask), 0o22);
        }
        // Parent and child return, and both end here.
        call_32(number(Sysno::fork), 0);
        call_32(number(Sysno::exit_group), 0);
    });
    if libc::WIFSIGNALED(status) {
        // Without 32-bit emulation the instruction is a fault; then the kernel has no code for it.
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let of_emulation = ["ia32_sys_call", "int80_emulation", "entry_INT80_compat"];
        let emulated = of_emulation.iter().any(|name| symbols.contains(name));
        assert!(
            !emulated,
            "the kernel knows 32-bit calls, but `int 0x80` ended with {status:#x}"
        );
        assert!(
            std::env::var_os("MONITORING_TEST_GUEST").is_none(),
            "the guests' kernels do"
        );
        return;
    }
    // Both processes have called exit_group once the second one is gone, too.
    let batch = crate::node::poll_until("both ends", || {
        let batch = node.collect(SOURCE);
        (calls(&batch, "compat_exit_group") == 2).then_some(batch)
    });
    assert_eq!(calls(&batch, "compat_getppid"), 100);
    assert_eq!(durations(&batch, "compat_getppid").0, 100);
    assert_eq!(
        (
            calls(&batch, "compat_umask"),
            durations(&batch, "compat_umask").0
        ),
        (100, 100)
    );
    assert_eq!(calls(&batch, "compat_fork"), 1);
    assert_eq!(calls(&batch, "getppid"), 0);
    assert_eq!(calls(&batch, "setxattr"), 0, "64 counts in the other table");
}

#[test]
fn an_interrupted_call_fails_once() {
    extern "C" fn nothing(_: libc::c_int) {}
    let (_, after) = counted(|| {
        let status = work::in_fork(|| {
            let handler = nothing as extern "C" fn(libc::c_int);
            // SAFETY: the handler does nothing; the alarm interrupts the pause.
            unsafe {
                libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
                let timer = libc::itimerval {
                    it_interval: libc::timeval {
                        tv_sec: 0,
                        tv_usec: 0,
                    },
                    it_value: libc::timeval {
                        tv_sec: 0,
                        tv_usec: 10_000,
                    },
                };
                libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0);
                let none = ptr::null::<libc::pollfd>();
                libc::syscall(
                    libc::SYS_ppoll,
                    none,
                    0,
                    ptr::null::<u8>(),
                    ptr::null::<u8>(),
                    8,
                );
            }
        });
        assert_eq!(status, 0);
    });
    assert_eq!(calls(&after, "rt_sigreturn"), 1);
    assert_eq!(errors(&after, "ppoll", "ERESTARTNOHAND"), 1);
    let family = after
        .families
        .iter()
        .find(|family| family.name() == "syscall_errors_total");
    let of_sigreturn = family.unwrap().get_metric().iter().filter(|metric| {
        let mut labels = metric.get_label().iter();
        labels.any(|label| label.value() == "rt_sigreturn")
    });
    assert_eq!(
        of_sigreturn.count(),
        0,
        "what it returns is the interrupted call's"
    );
}

#[test]
fn calls_already_running_are_counted_without_a_duration() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (pipe_read, mut pipe_write) = std::io::pipe().unwrap();
    let reader = thread::spawn(move || {
        // SAFETY: gettid has no arguments.
        sender.send(unsafe { libc::gettid() }).unwrap();
        std::io::Read::read(&mut &pipe_read, &mut [0]).unwrap()
    });
    let task = receiver.recv().unwrap();
    crate::node::poll_until("the reader waits in read", || {
        let running = std::fs::read_to_string(format!("/proc/self/task/{task}/syscall")).ok()?;
        running
            .starts_with(&format!("{} ", libc::SYS_read))
            .then_some(())
    });
    let mut node = Node::start(&["process", SOURCE]);
    let before = node.collect(SOURCE);
    std::io::Write::write_all(&mut pipe_write, b"x").unwrap();
    assert_eq!(reader.join().unwrap(), 1);
    let after = node.collect(SOURCE);
    let counted = calls(&after, "read") - calls(&before, "read");
    let timed = durations(&after, "read").0 - durations(&before, "read").0;
    assert_eq!(counted - timed, 1);
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
    crate::node::poll_until("the kernel program's debug message", || {
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
