//! A forked process that does one known thing at a time, and tells how much CPU time that took.

use std::{
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::AsRawFd as _,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use super::program::{LEAVES, Leaf};
use crate::poll::poll_until;

/// What a worker does.
#[derive(Clone, Copy)]
pub(super) enum Task {
    /// Runs A, B and C for 60, 30 and 10 hundredths of so many milliseconds of CPU time, in turns.
    Split { milliseconds: u64 },
    /// Runs one of the functions for so long, so many calls deep.
    Deep {
        leaf: Leaf,
        depth: u64,
        milliseconds: u64,
    },
    /// Makes system calls for so long.
    Calls { milliseconds: u64 },
    /// Makes so many processes, one after the other, each of which runs C for about a millisecond.
    Short { processes: u32 },
    /// Anything else.
    Other(fn()),
}

/// What the processes share.
#[repr(C)]
struct Shared {
    task: std::cell::UnsafeCell<Task>,
    /// CPU time in each of [`LEAVES`], and altogether.
    leaves_ns: [AtomicU64; LEAVES.len()],
    all_ns: AtomicU64,
    elapsed_ns: AtomicU64,
}

/// A worker waits for orders in `read`. It ends with the test.
pub(super) struct Worker {
    pid: libc::pid_t,
    orders: PipeWriter,
    reports: PipeReader,
    shared: *mut Shared,
}

/// The name of workers' threads.
pub(super) const NAME: &str = "profile-work";

impl Worker {
    /// A worker that other processes hardly ever keep from the CPU.
    pub(super) fn start() -> Self {
        let (mut receive, orders) = std::io::pipe().unwrap();
        let (reports, mut report) = std::io::pipe().unwrap();
        let shared = share();
        // SAFETY: the child makes system calls and arithmetic only, and never returns.
        let pid = match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: the name is a constant; the child ends when the test does.
                unsafe {
                    libc::prctl(libc::PR_SET_NAME, c"profile-work".as_ptr());
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::setpriority(libc::PRIO_PROCESS, 0, -20);
                }
                obey(&mut receive, &mut report, shared)
            }
            pid => pid,
        };
        Self {
            pid,
            orders,
            reports,
            shared,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        u32::try_from(self.pid).unwrap()
    }

    /// Gives an order. What was counted before begins anew.
    pub(super) fn begins(&mut self, task: Task) {
        // SAFETY: the worker waits for the order, and nobody else looks at the memory.
        unsafe { *(*self.shared).task.get() = task };
        let counters = self.shared().leaves_ns.iter();
        for counter in counters.chain([&self.shared().all_ns]) {
            counter.store(0, Ordering::Relaxed);
        }
        self.orders.write_all(&[1]).unwrap();
    }

    /// Whether the order has been carried out, without waiting.
    pub(super) fn is_done(&mut self) -> bool {
        let mut report = libc::pollfd {
            fd: self.reports.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one descriptor, which lives across the call.
        if unsafe { libc::poll(&raw mut report, 1, 0) } == 0 {
            return false;
        }
        self.reports.read_exact(&mut [0]).unwrap();
        true
    }

    /// Waits until the worker sleeps, and is not sampled any more.
    pub(super) fn rests(&self) {
        poll_until("a worker that sleeps", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
            let (_, fields) = stat.rsplit_once(") ")?;
            fields.starts_with('S').then_some(())
        });
    }

    /// Seconds of CPU time that the order took.
    pub(super) fn seconds(&self) -> f64 {
        self.shared().all_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// By how much the number of samples may be off, by three times the deviation that chance gives it:
    /// samples are at fixed times, and others have the CPU at any.
    pub(super) fn tolerance(&self, hertz: u32) -> f64 {
        let elapsed = self.shared().elapsed_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let share = (self.seconds() / elapsed).min(1.0);
        3.0 * (f64::from(hertz) * elapsed * share * (1.0 - share)).sqrt()
    }

    /// Of these, those in each of [`LEAVES`].
    pub(super) fn leaf_seconds(&self) -> [f64; LEAVES.len()] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / 1e9;
        self.shared().leaves_ns.each_ref().map(load)
    }

    fn shared(&self) -> &Shared {
        // SAFETY: mapped by `start`, and until the test ends.
        unsafe { &*self.shared }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: ends the child that `start` made, and waits for it; then nobody uses the memory.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
            libc::munmap(self.shared.cast(), size_of::<Shared>());
        }
    }
}

fn share() -> *mut Shared {
    // SAFETY: new memory, of zeros: counters, and a task that nobody reads before it is written.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    memory.cast()
}

fn obey(orders: &mut PipeReader, reports: &mut PipeWriter, shared: *mut Shared) -> ! {
    loop {
        let mut order = [0];
        // SAFETY: reads one byte into a buffer of its own; writes the one byte. The parent has
        // written the task before the order.
        unsafe {
            if libc::read(orders.as_raw_fd(), order.as_mut_ptr().cast(), 1) != 1 {
                libc::_exit(1);
            }
            let (begun, before) = (clock_ns(libc::CLOCK_MONOTONIC), all_ns());
            perform(*(*shared).task.get(), &(*shared).leaves_ns);
            let all = all_ns() - before;
            (*shared).all_ns.store(all, Ordering::Relaxed);
            let elapsed = clock_ns(libc::CLOCK_MONOTONIC) - begun;
            (*shared).elapsed_ns.store(elapsed, Ordering::Relaxed);
            libc::write(reports.as_raw_fd(), order.as_ptr().cast(), 1);
        }
    }
}

fn perform(task: Task, leaves_ns: &[AtomicU64; LEAVES.len()]) {
    match task {
        Task::Split { milliseconds } => {
            // Turns are long, so that few samples are at their ends.
            const TURNS: u64 = 10;
            first_in_line(true);
            for _ in 0..TURNS {
                for (leaf, hundredths) in [(Leaf::A, 60), (Leaf::B, 30), (Leaf::C, 10)] {
                    count_down(leaf, 2, milliseconds * hundredths / 100 / TURNS, leaves_ns);
                }
            }
            first_in_line(false);
        }
        Task::Deep {
            leaf,
            depth,
            milliseconds,
        } => count_down(leaf, depth, milliseconds, leaves_ns),
        Task::Calls { milliseconds } => {
            let end = cpu_ns() + milliseconds * 1_000_000;
            let mut buffer = [0_u8; 16384];
            while cpu_ns() < end {
                // SAFETY: reads into a buffer of its own. The call fails only without the device.
                unsafe {
                    libc::syscall(libc::SYS_getrandom, buffer.as_mut_ptr(), buffer.len(), 0);
                }
            }
        }
        Task::Short { processes } => {
            first_in_line(true);
            for _ in 0..processes {
                // SAFETY: the child computes only, and never returns.
                unsafe {
                    let pid = libc::fork();
                    if pid == 0 {
                        count_down(Leaf::C, 3, 1, leaves_ns);
                        libc::_exit(0);
                    }
                    libc::waitpid(pid, ptr::null_mut(), 0);
                }
            }
            first_in_line(false);
        }
        Task::Other(work) => work(),
    }
}

/// Has the CPU before all others, or no longer.
fn first_in_line(first: bool) {
    let (policy, priority) = if first {
        (libc::SCHED_FIFO, 1)
    } else {
        (libc::SCHED_OTHER, 0)
    };
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the parameters live across the call. Where it fails the numbers are less sharp.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
}

/// Runs a function until it has used so much CPU time.
fn count_down(leaf: Leaf, depth: u64, milliseconds: u64, leaves_ns: &[AtomicU64; LEAVES.len()]) {
    // About a millisecond, after which the clock is looked at.
    const ITERATIONS: u64 = 2_000_000;
    let begin = cpu_ns();
    let end = begin + milliseconds * 1_000_000;
    while cpu_ns() < end {
        leaf.run(ITERATIONS, depth);
    }
    let place = LEAVES.iter().position(|other| *other == leaf);
    if let Some(sum) = place.and_then(|place| leaves_ns.get(place)) {
        sum.fetch_add(cpu_ns() - begin, Ordering::Relaxed);
    }
}

/// CPU time of the running thread.
pub(super) fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads, and of children that have been waited for.
pub(super) fn all_ns() -> u64 {
    // SAFETY: zeros are a result, which lives across the call.
    let children = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        [usage.ru_utime, usage.ru_stime]
    };
    let children = children.map(|time| (time.tv_sec * 1_000_000 + time.tv_usec).cast_unsigned());
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID) + children.iter().sum::<u64>() * 1_000
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
