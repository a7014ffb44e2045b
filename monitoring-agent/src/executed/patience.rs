//! Waits for work on a tenant's files only so long.
//!
//! A file may be on a file system whose server does not answer: a network's, or a tenant's own.
//! Whoever opens such a file waits without end, and cannot be woken. So a thread that can be spared
//! does it, and if it does not come back another takes its place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// Most threads that may be waiting in vain at a time. Each costs a few pages.
const MAX_STUCK: usize = 32;

type Task = Box<dyn FnOnce() + Send>;

/// One thread that can be spared, at a time.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    worker: Option<Sender<Task>>,
    /// Threads that are there.
    threads: Arc<AtomicUsize>,
}

/// Counts a thread as long as it is there.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Patience {
    /// Waits at most `limit` for each piece of work.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            worker: None,
            threads: Arc::default(),
        }
    }

    /// What `work` returns; why not, if it takes too long or is not begun because too much does.
    pub(crate) fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let (answer, result) = mpsc::sync_channel(1);
        let mut task: Task = Box::new(move || {
            // Nobody waits any more for what was too late.
            let _ = answer.send(work());
        });
        if let Some(worker) = &self.worker {
            match worker.send(task) {
                Ok(()) => return self.wait(&result),
                Err(back) => task = back.0,
            }
        }
        let worker = self.start()?;
        worker
            .send(task)
            .map_err(|_| "the thread to do it ended".to_owned())?;
        self.worker = Some(worker);
        self.wait(&result)
    }

    fn wait<T>(&mut self, result: &mpsc::Receiver<T>) -> Result<T, String> {
        result.recv_timeout(self.limit).map_err(|error| {
            // The thread, if it ever comes back, finds that nothing is left to do.
            self.worker = None;
            match error {
                RecvTimeoutError::Timeout => {
                    format!("its file system did not answer within {:?}", self.limit)
                }
                RecvTimeoutError::Disconnected => "the thread to do it panicked".to_owned(),
            }
        })
    }

    fn start(&self) -> Result<Sender<Task>, String> {
        if self.threads.load(Ordering::Relaxed) >= MAX_STUCK {
            return Err(format!("{MAX_STUCK} file systems do not answer"));
        }
        let (sender, tasks) = mpsc::channel::<Task>();
        self.threads.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.threads));
        let body = move || {
            let _counted = counted;
            for task in tasks {
                task();
            }
        };
        thread::Builder::new()
            .name("files".to_owned())
            .spawn(body)
            .map_err(|error| format!("start a thread: {error}"))?;
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn what_hangs_is_left_behind_and_only_so_often() {
        let mut patience = Patience::new(Duration::from_mins(1));
        assert_eq!(patience.run(|| 7), Ok(7));
        patience.limit = Duration::from_millis(10);
        let mut hung = Vec::new();
        for _ in 0..MAX_STUCK {
            let (release, held) = mpsc::channel::<()>();
            let error = patience.run(move || held.recv()).unwrap_err();
            assert!(error.contains("did not answer"), "{error}");
            hung.push(release);
        }
        let error = patience.run(|| 7).unwrap_err();
        assert!(error.contains("32 file systems"), "{error}");
        // They come back, and so does the agent.
        hung.clear();
        patience.limit = Duration::from_mins(1);
        while patience.run(|| 7) != Ok(7) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let mut patience = Patience::new(Duration::from_mins(1));
        let error = patience.run(|| assert_eq!(1, 2)).unwrap_err();
        assert!(error.contains("panicked"), "{error}");
        assert_eq!(patience.run(|| 7), Ok(7));
    }
}
