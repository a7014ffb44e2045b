//! Which threads a profiler has trees of, and what is left of those that have ended.
//!
//! A thread makes its tree when it first enters a scope, and hands its sums over when it ends. Knows
//! nothing of what a report looks like.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    sampling::Sampling,
    totals::Totals,
    tree::{OTHER, Tree},
};

/// Names of scopes that a profiler keeps apart. One costs each thread that enters it half a
/// kilobyte, and a quarter for each power of two between its shortest and its longest duration.
const NAMES: usize = 1000;

/// What all handles of a profiler share.
#[derive(Debug)]
pub(super) struct Core {
    /// No other profiler of this process has it, or ever had.
    id: u64,
    pub(super) sample_rate: f64,
    names: Mutex<HashSet<Arc<str>>>,
    threads: Mutex<Threads>,
}

/// A tree is in one of them at any time.
#[derive(Debug, Default)]
struct Threads {
    running: Vec<Arc<Tree>>,
    ended: Totals,
}

thread_local! {
    /// The profiler that this thread used last, by its id, and its tree there. Has no destructor,
    /// so that reading it is one load.
    static LAST: Cell<(u64, *const Tree)> = const { Cell::new((0, ptr::null())) };
    static TREES: Trees = const { Trees(RefCell::new(Vec::new())) };
}

/// The trees of one thread, by profiler.
struct Trees(RefCell<Vec<(u64, Weak<Tree>)>>);

impl Drop for Trees {
    fn drop(&mut self) {
        // What other destructors of this thread enter gets a tree of its own.
        LAST.set((0, ptr::null()));
        for tree in self
            .0
            .get_mut()
            .iter()
            .filter_map(|(_, tree)| tree.upgrade())
        {
            if tree.orphan()
                && let Some(core) = tree.core.upgrade()
            {
                core.retire(Arc::as_ptr(&tree));
            }
        }
    }
}

impl Core {
    pub(super) fn new(sample_rate: f64) -> Arc<Self> {
        static IDS: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: IDS.fetch_add(1, Relaxed),
            sample_rate,
            names: Mutex::default(),
            threads: Mutex::default(),
        })
    }

    /// This thread's tree. It lives as long as the profiler, or until nothing on it is open and the
    /// thread has ended.
    #[inline]
    pub(super) fn tree(self: &Arc<Self>) -> *const Tree {
        let (id, tree) = LAST.get();
        if id == self.id {
            return tree;
        }
        self.find_tree()
    }

    /// Whether a scope is open on this thread that is recorded, and with it all that is entered.
    pub(super) fn is_recording(&self) -> bool {
        self.known_tree().is_some_and(|tree| tree.is_recording())
    }

    /// This thread's tree, if it has one.
    pub(super) fn known_tree(&self) -> Option<Arc<Tree>> {
        let known = TREES.try_with(|trees| {
            let trees = trees.0.borrow();
            let tree = trees.iter().find(|(id, _)| *id == self.id);
            tree.and_then(|(_, tree)| tree.upgrade())
        });
        known.ok().flatten()
    }

    #[cold]
    fn find_tree(self: &Arc<Self>) -> *const Tree {
        let found = TREES.try_with(|trees| {
            let mut trees = trees.0.borrow_mut();
            let known = trees.iter().find(|(id, _)| *id == self.id);
            let tree = if let Some((_, tree)) = known {
                tree.as_ptr()
            } else {
                trees.retain(|(_, tree)| tree.strong_count() > 0);
                let tree = self.add_tree();
                trees.push((self.id, Arc::downgrade(&tree)));
                Arc::as_ptr(&tree)
            };
            LAST.set((self.id, tree));
            tree
        });
        found.unwrap_or_else(|_| {
            // The thread is about to end: a tree for this scope and what is entered within.
            let tree = self.add_tree();
            tree.orphan();
            Arc::as_ptr(&tree)
        })
    }

    fn add_tree(self: &Arc<Self>) -> Arc<Tree> {
        let seed = RandomState::new().hash_one(self.id);
        let sampling = Sampling::new(self.sample_rate, seed);
        let tree = Tree::new(Arc::downgrade(self), sampling);
        self.threads().running.push(Arc::clone(&tree));
        tree
    }

    /// Keeps the sums of a tree on which nothing will happen any more, and frees it.
    pub(super) fn retire(&self, tree: *const Tree) {
        let mut threads = self.threads();
        let place = threads
            .running
            .iter()
            .position(|known| Arc::as_ptr(known) == tree);
        if let Some(place) = place {
            let tree = threads.running.swap_remove(place);
            threads.ended.add(&tree);
        }
    }

    /// The name as it is kept; `None` where there is no room for one more.
    pub(super) fn name(&self, name: &str) -> Option<Arc<str>> {
        // A name that is half inserted when memory ends is not there.
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name) {
            return Some(Arc::clone(known));
        }
        if names.len() >= NAMES && name != OTHER {
            return None;
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        Some(name)
    }

    /// What all threads have come to so far, those that have ended included.
    pub(super) fn totals(&self) -> Totals {
        let (running, mut totals) = {
            let threads = self.threads();
            (threads.running.clone(), threads.ended.clone())
        };
        // A thread that ends meanwhile is not among the ended ones of before.
        for tree in running {
            totals.add(&tree);
        }
        totals
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        // Sums of a tree that were half added when memory ended are the worst that can be.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
