//! Does work that may never come back, and waits only so long for it.
//!
//! A file may be on a file system whose server does not answer, and a process may be stuck in the
//! kernel with its list of mappings locked. Whoever reads such waits without end and cannot be woken.
//! So a thread of low priority does it that can be spared: if it does not come back, another takes
//! its place. Knows nothing of what the work is.

use std::{
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// Most threads that may be waiting in vain at a time. Each costs a few pages.
const MAX_THREADS: usize = 8;

/// As `nice` counts, from 0 to 19: a low priority, but not the lowest. It gives a tenth of the share of
/// a CPU that what the node is there for gets; the lowest, on a busy node, would get none for seconds.
const LOW_PRIORITY: libc::c_int = 10;

/// Work that only waits for a CPU may take so many times as long.
const LONGER: u32 = 12;

/// How often it is looked what the work waits for, in each limit.
const LOOKS: u32 = 8;

type Task = Box<dyn FnOnce() + Send>;

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::profile) struct Stuck;

/// One thread that can be spared, at a time.
#[derive(Debug)]
pub(in crate::profile) struct Worker {
    name: &'static str,
    limit: Duration,
    tasks: Mutex<Option<Sender<Task>>>,
    /// Threads that are there.
    threads: Arc<AtomicUsize>,
    /// The last of them, as the kernel numbers it; 0 before it runs.
    last: Arc<AtomicI32>,
}

/// Counts a thread as long as it is there.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Waits at most `limit` for each piece of work, not counting when that only waits for a CPU.
    pub(in crate::profile) fn new(name: &'static str, limit: Duration) -> Self {
        Self {
            name,
            limit,
            tasks: Mutex::new(None),
            threads: Arc::default(),
            last: Arc::default(),
        }
    }

    /// What `work` returns, unless it takes too long, panics, or too much of what came before it is
    /// still waiting.
    pub(in crate::profile) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stuck> {
        let (answer, result) = mpsc::sync_channel(1);
        let task: Task = Box::new(move || {
            // Nobody waits any more for what was too late.
            let _ = answer.send(work());
        });
        // One piece of work after the other: the next one would only wait for the same thread.
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match &*tasks {
            Some(sender) => sender.send(task).err().map(|back| back.0),
            None => Some(task),
        };
        if let Some(task) = refused {
            let sender = self.start()?;
            sender.send(task).map_err(|_| Stuck)?;
            *tasks = Some(sender);
        }
        let result = self.wait(&result);
        if result.is_err() {
            // The thread, if it ever comes back, finds that nothing is left to do.
            *tasks = None;
        }
        result
    }

    fn wait<T>(&self, result: &Receiver<T>) -> Result<T, Stuck> {
        let mut stood = 0;
        for _ in 0..LOOKS * LONGER {
            match result.recv_timeout(self.limit / LOOKS) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(Stuck),
                Err(RecvTimeoutError::Timeout) => {
                    stood += u32::from(!is_runnable(self.last.load(Ordering::Relaxed)));
                    if stood >= LOOKS {
                        return Err(Stuck);
                    }
                }
            }
        }
        Err(Stuck)
    }

    fn start(&self) -> Result<Sender<Task>, Stuck> {
        if self.threads.load(Ordering::Relaxed) >= MAX_THREADS {
            return Err(Stuck);
        }
        let (sender, tasks) = mpsc::channel::<Task>();
        self.threads.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.threads));
        let last = Arc::clone(&self.last);
        last.store(0, Ordering::Relaxed);
        let body = move || {
            let _counted = counted;
            // SAFETY: the call has no preconditions.
            last.store(unsafe { libc::gettid() }, Ordering::Relaxed);
            lower_priority();
            for task in tasks {
                task();
            }
        };
        let thread = thread::Builder::new().name(self.name.to_owned());
        thread.spawn(body).map_err(|_| Stuck)?;
        Ok(sender)
    }
}

/// Whether a thread of this process runs, or could if it had a CPU. One that does not run yet can.
fn is_runnable(thread: libc::pid_t) -> bool {
    if thread == 0 {
        return true;
    }
    let Ok(state) = fs::read(format!("/proc/self/task/{thread}/stat")) else {
        return false;
    };
    // The name before it may hold anything, but for what ends it last.
    let end = state.iter().rposition(|byte| *byte == b')');
    end.and_then(|end| state.get(end + 2)) == Some(&b'R')
}

/// Lets others go first from now on, as far as this thread is concerned.
pub(super) fn lower_priority() {
    // SAFETY: plain system calls. On Linux this one is about the calling thread, number 0, alone. It
    // cannot fail: lower priorities are anybody's to choose.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LOW_PRIORITY) };
    // SAFETY: a plain structure of integers.
    let parameter: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives across the call, which is about this thread too.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind_and_only_so_often() {
        let mut worker = Worker::new("test", Duration::from_mins(1));
        assert_eq!(worker.run(|| 7), Ok(7));
        worker.limit = Duration::from_millis(10);
        let mut hung = Vec::new();
        for _ in 0..MAX_THREADS {
            let (release, held) = mpsc::channel::<()>();
            assert_eq!(worker.run(move || held.recv()), Err(Stuck));
            hung.push(release);
        }
        assert_eq!(worker.run(|| 7), Err(Stuck));
        // They come back, and so does the work.
        hung.clear();
        worker.limit = Duration::from_mins(1);
        while worker.run(|| 7) != Ok(7) {
            thread::yield_now();
        }
    }

    #[test]
    fn who_computes_is_waited_for_longer() {
        let worker = Worker::new("test", Duration::from_millis(100));
        let computes = || {
            let begun = crate::clock::thread_time();
            let spent = || crate::clock::thread_time().saturating_sub(begun);
            while spent() < Duration::from_millis(300) {
                std::hint::spin_loop();
            }
            7
        };
        assert_eq!(worker.run(computes), Ok(7));
    }

    #[test]
    fn a_panic_is_no_result() {
        let worker = Worker::new("test", Duration::from_mins(1));
        assert_eq!(worker.run(|| assert_eq!(1, 2)), Err(Stuck));
        assert_eq!(worker.run(|| 7), Ok(7));
    }

    #[test]
    fn it_lets_others_go_first() {
        let worker = Worker::new("test", Duration::from_mins(1));
        // SAFETY: a plain system call.
        let priority = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        assert_eq!(worker.run(priority), Ok(LOW_PRIORITY));
        assert_ne!(priority(), LOW_PRIORITY);
    }
}
