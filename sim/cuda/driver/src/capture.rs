//! A graph in the making: what streams would have done since a capture began.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::movement::Work;

/// Shared by all streams that are captured into one graph.
pub(crate) struct Capture {
    id: u64,
    ended: AtomicBool,
    work: Mutex<Vec<Work>>,
}

impl Capture {
    /// A capture that has nothing yet.
    pub(crate) fn begin() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            ended: AtomicBool::new(false),
            work: Mutex::default(),
        }
    }

    /// Told apart from all others by this.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn push(&self, work: Work) {
        let mut all = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(work);
    }

    /// Ends the capture, and gives what was captured.
    pub(crate) fn end(&self) -> Vec<Work> {
        self.ended.store(true, Ordering::Release);
        let mut all = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
