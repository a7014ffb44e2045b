//! A forked process that does one known thing at a time, and what the kernel says of it.

use std::{
    fs,
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::AsRawFd as _,
    ptr,
};

use super::{WORKER, io_uring};
use crate::{node::Node, poll::poll_until, work};

/// What a worker can be told to do.
#[derive(Clone, Copy)]
pub(super) enum Task {
    /// [`NAPS`] sleeps of 2 ms: longer than a slow machine takes to fall asleep.
    Naps = 1,
    /// 2,000 times `sched_yield`.
    Yields,
    /// Computes until killed.
    Spin,
    /// Computes for 300 ms of CPU time.
    Compute,
    /// Waits 400 ms for a futex that nobody wakes.
    Futex,
    /// Waits 400 ms for `io_uring`.
    IoUring,
    /// Makes 50 children, which sleep 5 times each and then wait to be killed.
    Children,
}

const TASKS: [Task; 7] = [
    Task::Naps,
    Task::Yields,
    Task::Spin,
    Task::Compute,
    Task::Futex,
    Task::IoUring,
    Task::Children,
];

/// The number of sleeps in [`Task::Naps`].
pub(super) const NAPS: u64 = 100;

/// The number of children that [`Task::Children`] makes.
pub(super) const CHILDREN: usize = 50;

/// A worker waits for orders in `read`. It ends with the test.
pub(super) struct Worker {
    pid: libc::pid_t,
    orders: PipeWriter,
    reports: PipeReader,
}

impl Worker {
    /// A worker, at rest. On a running node it has to be given its label: see [`Self::labelled`].
    pub(super) fn start(cpu: Option<usize>) -> Self {
        let (mut receive, orders) = std::io::pipe().unwrap();
        let (reports, mut report) = std::io::pipe().unwrap();
        // SAFETY: the child makes system calls only, allocates nothing, and never returns.
        let pid = match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: the name is a constant; the child ends when the test does.
                unsafe {
                    libc::prctl(libc::PR_SET_NAME, c"sched-worker".as_ptr());
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                }
                if let Some(cpu) = cpu {
                    work::pin_to(cpu);
                }
                obey(&mut receive, &mut report)
            }
            pid => pid,
        };
        let worker = Self {
            pid,
            orders,
            reports,
        };
        worker.rests();
        worker
    }

    /// A worker on a running node, with its label.
    pub(super) fn labelled(node: &Node, cpu: Option<usize>) -> Self {
        let worker = Self::start(cpu);
        let pid = u32::try_from(worker.pid).unwrap();
        node.labels.scan().unwrap();
        assert_eq!(node.labels.agent_of(pid).as_deref(), Some(WORKER));
        worker
    }

    pub(super) fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Does something, and rests again.
    pub(super) fn does(&mut self, task: Task) {
        self.begins(task);
        self.is_done();
    }

    pub(super) fn begins(&mut self, task: Task) {
        self.orders.write_all(&[task as u8]).unwrap();
    }

    pub(super) fn is_done(&mut self) {
        self.reports.read_exact(&mut [0]).unwrap();
        self.rests();
    }

    /// Waits until the worker has left its CPU in `read`.
    fn rests(&self) {
        self.sleeps_in(libc::SYS_read);
    }

    /// Waits until the worker has left its CPU in a system call.
    pub(super) fn sleeps_in(&self, call: libc::c_long) {
        sleeps_in(self.pid, call);
    }

    /// Waits until the worker is in a state, as /proc names them.
    pub(super) fn has_state(&self, state: &str) {
        poll_until("a state of the worker", || {
            (field(&status(self.pid), "State")? == state).then_some(())
        });
    }

    /// Waits until the worker has used some CPU time for what it was told.
    pub(super) fn computes(&self) {
        let before = self.cpu_seconds();
        poll_until("a worker's CPU time", || {
            (self.cpu_seconds() > before + 0.01).then_some(())
        });
    }

    pub(super) fn signal(&self, signal: libc::c_int) {
        // SAFETY: signals the child that `start` made and nobody has waited for.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    /// Voluntary and involuntary switches as the kernel counts them.
    pub(super) fn switches(&self) -> [u64; 2] {
        switches(self.pid)
    }

    /// Switches of the worker's children, once all of them wait to be killed.
    pub(super) fn switches_of_children(&self) -> Vec<[u64; 2]> {
        let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap();
        let children = list.split_whitespace().map(|pid| pid.parse().unwrap());
        let switches = children.map(|pid| {
            sleeps_in(pid, libc::SYS_rt_sigsuspend);
            switches(pid)
        });
        switches.collect()
    }

    /// Time on a CPU or ready for one until now: the first two numbers of its `schedstat`.
    pub(super) fn awake_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).unwrap();
        let times = stat.split_whitespace().take(2);
        times.map(|ns| ns.parse::<f64>().unwrap() / 1e9).sum()
    }

    /// CPU time until now, by the process's own clock.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let mut clock = 0;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the results live across the calls.
        unsafe {
            assert_eq!(libc::clock_getcpuclockid(self.pid, &raw mut clock), 0);
            assert_eq!(libc::clock_gettime(clock, &raw mut time), 0);
        }
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: ends the child that `start` made, and waits for it. Its children end with it.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

fn status(pid: libc::pid_t) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| *key == name)?;
    value.split_whitespace().next()
}

fn switches(pid: libc::pid_t) -> [u64; 2] {
    let status = status(pid);
    ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
        .map(|name| field(&status, name).unwrap().parse().unwrap())
}

/// The kernel names a task's call only once the task has left its CPU.
fn sleeps_in(pid: libc::pid_t, call: libc::c_long) {
    let start = format!("{call} ");
    poll_until("the call that a worker sleeps in", || {
        let running = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
        running.starts_with(&start).then_some(())
    });
}

fn obey(orders: &mut PipeReader, reports: &mut PipeWriter) -> ! {
    let mut order = [0];
    loop {
        // SAFETY: reads one byte into a buffer of its own.
        let read = unsafe { libc::read(orders.as_raw_fd(), order.as_mut_ptr().cast(), 1) };
        if read == 1 {
            let task = TASKS.iter().find(|task| **task as u8 == order[0]);
            if task.is_some_and(|task| perform(*task)) {
                // SAFETY: writes the one byte.
                unsafe { libc::write(reports.as_raw_fd(), order.as_ptr().cast(), 1) };
                continue;
            }
        }
        // SAFETY: ends the child without running its parent's exit handlers.
        unsafe { libc::_exit(1) };
    }
}

/// Whether it went well.
fn perform(task: Task) -> bool {
    match task {
        Task::Naps => (0..NAPS).for_each(|_| nap(2_000_000)),
        Task::Yields => (0..2_000).for_each(|_| {
            // SAFETY: the call has no arguments.
            unsafe { libc::syscall(libc::SYS_sched_yield) };
        }),
        Task::Spin => loop {
            std::hint::spin_loop();
        },
        Task::Compute => {
            let until = cpu_ns() + 300_000_000;
            while cpu_ns() < until {}
        }
        Task::Futex => return futex_times_out(),
        Task::IoUring => return io_uring::times_out(super::HELD),
        Task::Children => return (0..CHILDREN).all(|_| child()),
    }
    true
}

fn nap(nanoseconds: libc::c_long) {
    let request = libc::timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    };
    // SAFETY: the request lives across the call; no remainder is asked for.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const request, ptr::null::<u8>()) };
}

fn cpu_ns() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn futex_times_out() -> bool {
    let word = 0_u32;
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(super::HELD.subsec_nanos()),
    };
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the time live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            &raw const word,
            operation,
            0,
            &raw const time,
        )
    };
    result == -1
}

fn child() -> bool {
    // SAFETY: the child makes system calls only, and ends with its parent at the latest.
    match unsafe { libc::fork() } {
        -1 => false,
        0 => {
            // SAFETY: no memory is involved.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            (0..5).for_each(|_| nap(2_000_000));
            let none = 0_u64;
            // SAFETY: the empty set of signals lives across the call, which no signal ends.
            unsafe { libc::syscall(libc::SYS_rt_sigsuspend, &raw const none, 8) };
            // SAFETY: ends the child without running its parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        _ => true,
    }
}
