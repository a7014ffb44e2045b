//! Spans of processes, compared with what `/proc`, `wait` and the test's clock say.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use monitoring_common::trace::{Record, detail::ProcessDetail, flags::FOR_FAILURE, kind::PROCESS};

use super::{
    assert_lasted, has_failed, now_ns,
    reader::{ALL, Traced},
};
use crate::{poll::poll_until, work};

const FAMILIES: [&str; 2] = ["process", "syscalls"];

/// How long processes live that are compared with the clock.
const LIFE: Duration = Duration::from_millis(300);

type Span = Record<ProcessDetail>;

fn everything() -> Traced {
    with_rate(1.0)
}

fn with_rate(rate: f64) -> Traced {
    Traced::start(&FAMILIES, |config| {
        config.sources.trace.process = ALL;
        config.trace_sample_rate = rate;
    })
}

fn is_of(pid: u32) -> impl Fn(&Span) -> bool {
    move |span| span.header.pid == pid
}

/// When a process started, in the ticks of its `/proc/PID/stat`.
fn started_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(19).unwrap().parse().unwrap()
}

/// The same, of a time as spans have it.
fn ticks(start_ns: u64) -> u64 {
    // `USER_HZ` is 100 for every program.
    start_ns / 10_000_000
}

/// Ends the calling process.
fn exit(code: i32) {
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(code) }
}

/// Lets time pass in a forked process.
fn sleep_in_fork(time: Duration) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: the time lives across the call, which writes nothing.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

/// A process that ends by a signal of its own.
fn signal(number: i32) {
    // SAFETY: no core is left behind; the signal is this process's own.
    unsafe {
        let none = std::mem::zeroed::<libc::rlimit>();
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(number, libc::SIG_DFL);
        libc::kill(libc::getpid(), number);
    }
}

#[test]
fn a_life_from_start_to_end() {
    let mut traced = everything();
    let before_ns = now_ns();
    let begun = Instant::now();
    let child = work::Forked::start(|| {
        // SAFETY: the name is a string that outlives the call.
        unsafe { libc::prctl(libc::PR_SET_NAME, c"short-lived".as_ptr()) };
        sleep_in_fork(LIFE);
    });
    let pid = child.pid();
    let started = started_ticks(pid);
    assert_eq!(child.wait(), 0);
    let took = begun.elapsed();
    let spans = traced.wait_for::<ProcessDetail>(PROCESS, 1, is_of(pid));
    let Span { header, detail } = spans[0];
    assert_lasted("a process", &header, took);
    assert!(header.start_ns >= before_ns && header.end_ns <= now_ns());
    assert_eq!((header.tid, header.code), (pid, 0));
    assert_eq!(header.comm, *b"short-lived\0\0\0\0\0");
    assert_eq!(ticks(header.process_start_ns), started);
    assert!(!has_failed(&header));
    assert_eq!((detail.status, detail.out_of_memory), (0, 0));
    let me = std::process::id();
    assert_eq!(detail.parent_pid, me);
    assert_eq!(ticks(detail.parent_start_ns), started_ticks(me));
    traced.assert_counted::<ProcessDetail>(PROCESS, 1, 0);
}

#[test]
fn a_signal_is_told_of_however_short_the_life() {
    let mut traced = Traced::start(&FAMILIES, |config| {
        config.sources.trace.process = Some(Duration::from_hours(1));
    });
    assert_eq!(work::Forked::start(|| exit(1)).wait(), 1 << 8);
    let killed = work::Forked::start(|| signal(libc::SIGKILL));
    let pid = killed.pid();
    assert_eq!(killed.wait(), libc::SIGKILL);
    let spans = traced.wait_for::<ProcessDetail>(PROCESS, 1, is_of(pid));
    let header = &spans[0].header;
    assert!(has_failed(header) && header.flags & FOR_FAILURE != 0);
    assert_eq!(header.code, 128 + libc::SIGKILL);
    traced.assert_counted::<ProcessDetail>(PROCESS, 1, 0);
}

#[test]
fn codes_and_signals() {
    let mut traced = everything();
    for (end, code) in [
        (Box::new(|| exit(0)) as Box<dyn Fn()>, 0),
        (Box::new(|| exit(3)), 3),
        (Box::new(|| exit(255)), 255),
        (Box::new(|| signal(libc::SIGKILL)), 137),
        (Box::new(|| signal(libc::SIGTERM)), 143),
        (Box::new(|| signal(libc::SIGSEGV)), 139),
    ] {
        let child = work::Forked::start(end);
        let pid = child.pid();
        let status = child.wait();
        let spans = traced.wait_for::<ProcessDetail>(PROCESS, 1, is_of(pid));
        let Span { header, detail } = spans[0];
        assert_eq!(detail.status.cast_signed(), status);
        assert_eq!(header.code, code);
        assert_eq!(has_failed(&header), code != 0);
    }
    traced.assert_counted::<ProcessDetail>(PROCESS, 6, 0);
}

#[test]
fn a_signal_is_always_told_of_and_a_code_by_the_sample() {
    let mut traced = with_rate(0.0);
    for code in 0..5 {
        work::in_fork(|| exit(code));
    }
    let child = work::Forked::start(|| signal(libc::SIGKILL));
    let pid = child.pid();
    child.wait();
    let spans = traced.wait_for::<ProcessDetail>(PROCESS, 1, |_| true);
    assert_eq!(spans[0].header.pid, pid);
    assert!(spans[0].header.flags & FOR_FAILURE != 0);
    traced.assert_counted::<ProcessDetail>(PROCESS, 1, 5);
}

/// A process whose parent has ended has another parent by then.
#[test]
fn the_parent_is_who_made_it() {
    let mut traced = everything();
    let (mut read, write) = io::pipe().unwrap();
    let parent = work::Forked::start(|| {
        // SAFETY: as in every forked process, only system calls are made.
        let (parent, child) = unsafe { (libc::getpid(), libc::fork()) };
        if child == 0 {
            // SAFETY: the call has no arguments.
            while unsafe { libc::getppid() } == parent {
                sleep_in_fork(Duration::from_millis(1));
            }
            exit(7);
        }
        let bytes = child.to_ne_bytes();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&write);
        // SAFETY: writes the bytes of a number.
        unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
    });
    let parent_pid = parent.pid();
    let mut child = [0; 4];
    io::Read::read_exact(&mut read, &mut child).unwrap();
    let child = u32::from_ne_bytes(child);
    assert_eq!(parent.wait(), 0);
    let spans = traced.wait_for::<ProcessDetail>(PROCESS, 1, is_of(child));
    let parents = traced.wait_for::<ProcessDetail>(PROCESS, 1, is_of(parent_pid));
    let [child, parent] = [spans[0], parents[0]];
    assert_eq!(
        (child.detail.parent_pid, child.header.code),
        (parent_pid, 7)
    );
    let started_ns = parent.header.process_start_ns;
    assert_eq!(child.detail.parent_start_ns, started_ns);
    assert_eq!(parent.detail.parent_pid, std::process::id());
    assert!(child.header.end_ns > parent.header.end_ns);
}

/// A program of several threads that executes another program in one that is not its first: the
/// process goes on, and lives from its own start to its own end.
#[test]
fn a_thread_that_executes_goes_on_as_its_process() {
    let mut traced = everything();
    let begun = Instant::now();
    let child = work::Forked::start(|| {
        std::thread::spawn(|| {
            sleep_in_fork(LIFE);
            // This program once more, which is watched, with nothing to do.
            let words = [c"suite", c"--list", c"--format=terse", c"no such test"];
            let [name, list, terse, none] = words.map(std::ffi::CStr::as_ptr);
            let arguments = [name, list, terse, none, std::ptr::null()];
            // SAFETY: the texts are constants, and the list ends with a null pointer.
            unsafe { libc::execv(c"/proc/self/exe".as_ptr(), arguments.as_ptr()) };
        });
        sleep_in_fork(2 * LIFE);
        exit(9);
    });
    let pid = child.pid();
    assert_eq!(child.wait(), 0);
    let took = begun.elapsed();
    let spans = traced.wait_for::<ProcessDetail>(PROCESS, 1, is_of(pid));
    // What is told is the end; that of a large program is not over then.
    let lasted = Duration::from_nanos(spans[0].header.end_ns - spans[0].header.start_ns);
    assert!((LIFE..=took).contains(&lasted), "{lasted:?} of {took:?}");
    assert_eq!(spans[0].header.comm, *b"exe\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(spans[0].detail.parent_pid, std::process::id());
    poll_until("one end", || {
        (traced.spans::<ProcessDetail>(PROCESS, is_of(pid)).len() == 1).then_some(())
    });
}
