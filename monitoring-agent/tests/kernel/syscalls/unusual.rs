//! Calls that begin, end or are numbered in an unusual way.

use std::{ptr, thread};

use super::{SOURCE, calls, counted, durations, errors};
use crate::{node::Node, poll::poll_until, work};

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
    let batch = poll_until("both ends", || {
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
    poll_until("the reader waits in read", || {
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
