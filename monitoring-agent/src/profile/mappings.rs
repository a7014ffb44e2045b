//! Which file an address of a process belonged to at a time, also of one that has ended since.
//!
//! Owns a thread that keeps up with what processes map, start and end, and the tables of that. Knows
//! neither samples nor names of functions.

mod file;
mod follower;
mod life;
mod losses;
pub(in crate::profile) mod opening;
mod processes;
mod record;
mod rings;
mod table;
mod threads;
pub(in crate::profile) mod worker;

#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;

use self::{follower::Follower, processes::Processes, rings::Rings, worker::Worker};
pub use file::{FileId, FileRef};

use super::session::refused;
use crate::{clock::monotonic_ns, source::StartError};

/// Longest wait for what is read of a process or a file system that may not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longest wait for the thread that keeps up. It is only ever late when the machine is.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(2);

/// What an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A file that is mapped.
    File {
        /// Which.
        file: FileRef,
        /// The address's place in the file, in bytes.
        offset: u64,
        /// Where the mapping begins in the process's memory.
        start: u64,
        /// Where it ends: the first address behind it.
        end: u64,
        /// The place in the file of the mapping's start, in bytes.
        file_offset: u64,
    },
    /// The library that the kernel gives to each process.
    Vdso {
        /// The address's place in it, in bytes.
        offset: u64,
    },
    /// Memory of no file that may be executed: most often what a just-in-time compiler wrote.
    Jit {
        /// The process, as the initial pid namespace numbers it.
        pid: u32,
        /// The address itself.
        address: u64,
    },
    /// Nothing that is known to have been mapped at that time.
    Unknown {
        /// The address itself.
        address: u64,
    },
}

/// How much is known, and how much memory that takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processes, those that have ended included that may still be asked for.
    pub processes: usize,
    /// Mappings of all of them; those that processes share count once.
    pub mappings: usize,
    /// Files that are mapped.
    pub files: usize,
    /// Those held open.
    pub open_files: usize,
    /// About how much memory all of it takes.
    pub memory_bytes: usize,
}

/// Keeps up with what all processes have mapped to execute.
#[derive(Debug)]
pub struct Mappings {
    shared: Arc<Shared>,
    follower: Option<JoinHandle<()>>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    processes: Mutex<Processes>,
    /// All that happened until then is taken in (monotonic clock).
    through_ns: Mutex<u64>,
    advanced: Condvar,
    /// Up to when somebody waits for that.
    wanted_ns: AtomicU64,
    /// How many times something had been lost when the processes that ended meanwhile were looked for.
    looked_for: AtomicU64,
    stop: AtomicBool,
    wake: OwnedFd,
    worker: Worker,
}

impl Mappings {
    /// Follows all processes from now on, and reads what those have mapped that run already.
    ///
    /// # Errors
    ///
    /// [`StartError::Unsupported`] where the kernel has no such events, or the agent may not have those
    /// of others.
    pub fn start() -> Result<Arc<Self>, StartError> {
        let wake = event().context("make an event to wake a thread with")?;
        let rings = Rings::open(wake.as_raw_fd()).map_err(refused)?;
        let shared = Arc::new(Shared {
            processes: Mutex::default(),
            through_ns: Mutex::new(monotonic_ns()),
            advanced: Condvar::new(),
            wanted_ns: AtomicU64::new(0),
            looked_for: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            wake,
            worker: Worker::new("profile-read", PATIENCE),
        });
        let (sender, tasks) = mpsc::sync_channel(follower::MAX_TASKS);
        let worker = Arc::clone(&shared);
        thread::Builder::new()
            .name("profile-files".to_owned())
            .spawn(move || {
                worker::lower_priority();
                follower::work(&worker, &tasks);
            })
            .context("start a thread for files")?;
        let follower = Follower::new(Arc::clone(&shared), rings, sender);
        let follower = thread::Builder::new()
            .name("profile-maps".to_owned())
            .spawn(move || follower.run())
            .context("start a thread for mappings")?;
        Ok(Arc::new(Self {
            shared,
            follower: Some(follower),
        }))
    }

    /// Takes in everything that happened up to now. Takes a few milliseconds.
    pub fn catch_up(&self) {
        let now_ns = monotonic_ns();
        self.shared.wanted_ns.fetch_max(now_ns, Ordering::Relaxed);
        self.shared.wake();
        let through = self.shared.lock_through();
        let is_behind = |through: &mut u64| *through < now_ns;
        let waiting = self
            .shared
            .advanced
            .wait_timeout_while(through, CATCH_UP_LIMIT, is_behind);
        drop(waiting);
    }

    /// Appends the places of a stack's addresses at a time (monotonic clock), one each, in their
    /// order. The leaf is first; the others are return addresses, and their places are those of the
    /// byte before, which belongs to the call.
    ///
    /// A process that nobody has told of is read: that may take a second, if it is stuck.
    pub fn places(&self, pid: u32, time_ns: u64, addresses: &[u64], out: &mut Vec<Place>) {
        if addresses.is_empty() {
            return;
        }
        let processes = self.shared.processes();
        let processes = if processes.wants_reading(pid) {
            drop(processes);
            follower::read(&self.shared, pid);
            self.shared.processes()
        } else {
            processes
        };
        processes.places(pid, time_ns, addresses, out);
    }

    /// Nobody will ask for an earlier time than this any more (monotonic clock): what was mapped only
    /// before then is forgotten, and its files are closed.
    pub fn forget_before(&self, time_ns: u64) {
        let mut processes = self.shared.processes();
        let times = processes.losses.times();
        if self.shared.looked_for.swap(times, Ordering::Relaxed) != times {
            // Their ends may be among what was lost.
            let now_ns = monotonic_ns();
            for pid in processes.alive() {
                if !exists(pid) {
                    processes.ended(now_ns, pid);
                }
            }
        }
        let doubts = processes.doubts(time_ns);
        drop(processes);
        // Nearly all of them are gone, which one quick call tells.
        let settled: Vec<_> = doubts
            .into_iter()
            .map(|doubt| (doubt, exists(doubt.pid) && threads::any(doubt.pid)))
            .collect();
        let now_ns = monotonic_ns();
        let mut processes = self.shared.processes();
        for (doubt, is_alive) in settled {
            processes.settle(now_ns, doubt, is_alive);
        }
        processes.forget_before(time_ns);
    }

    /// What was lost since the start, by reason: `ring_full` are records of the kernel's; what they
    /// told of processes that still run is read again. `process`: processes that had ended before
    /// they were read, and those and earlier programs of others that were forgotten early for want of
    /// room. `mappings_full`, `files_full`: there was no room. `slow`: files that were not opened, and
    /// processes that were not read, in time; those files are still found by their paths if they are
    /// there.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        self.shared.processes().losses.counts()
    }

    /// How much is known by now.
    pub fn stats(&self) -> Stats {
        self.shared.processes().stats()
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.wake();
        if let Some(follower) = self.follower.take() {
            // If it panicked, that was said already.
            let _ = follower.join();
        }
    }
}

impl Shared {
    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_through(&self) -> MutexGuard<'_, u64> {
        self.through_ns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn through(&self) -> u64 {
        *self.lock_through()
    }

    fn advance(&self, through_ns: u64) {
        *self.lock_through() = through_ns;
        self.advanced.notify_all();
    }

    fn is_waited_for(&self) -> bool {
        self.through() < self.wanted_ns.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        let one = 1_u64;
        let wake = self.wake.as_raw_fd();
        // SAFETY: the descriptor is open, and the number lives across the call. It fails only if the
        // thread is being woken anyway.
        unsafe { libc::write(wake, (&raw const one).cast(), size_of_val(&one)) };
    }
}

fn event() -> io::Result<OwnedFd> {
    // SAFETY: the call has no preconditions.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: a plain system call; signal 0 is none.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}
