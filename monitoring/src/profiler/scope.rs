//! The guard of a scope: what lies between its making and its end is the scope.

use std::{marker::PhantomData, ptr};

use super::{
    Profiler,
    tree::{Frame, Observed, Tree},
};

/// A section of code whose duration is recorded when this is dropped.
///
/// Scopes of a thread nest: one that is made while another is open is entered from it, and its time
/// is no [self time](super::ScopeReport::self_time) of the other. Scopes may be dropped in any
/// order, but one that is dropped before a scope within it keeps that scope's time as its own.
///
/// A scope belongs to its thread and cannot be sent to another. Do not hold one across an `await`:
/// whatever else the thread does meanwhile would seem to be within it. For that there is
/// [`Profiler::scope_future`].
///
/// # Cost
///
/// Two readings of the clock and some twenty loads and stores to memory that no other thread
/// writes: no lock, and no allocation but when a thread enters a scope by a path for the first time.
///
/// # Example
///
/// ```
/// use monitoring::{ProfileScope, Profiler};
///
/// let profiler = Profiler::new();
/// for _ in 0..3 {
///     let _step = ProfileScope::new(&profiler, "step");
///     let _load = ProfileScope::new(&profiler, "load");
/// }
/// let report = profiler.report();
/// assert_eq!(report.count("step"), 3);
/// assert!(report.to_folded().contains("step;load "));
/// ```
#[derive(Debug)]
#[must_use = "a scope ends when it is dropped: bind it to a name such as `_scope`"]
pub struct ProfileScope<'p> {
    /// Null where the profiler is off.
    tree: *const Tree,
    frame: Frame,
    pub(super) observed: Observed,
    profiler: PhantomData<&'p Profiler>,
}

impl<'p> ProfileScope<'p> {
    /// Enters a scope.
    ///
    /// `name` should be one of few: beyond 1,000 names of a profiler, and 4,096 paths of a thread,
    /// what is entered is recorded as `other`. A literal is found fastest.
    #[inline]
    pub fn new(profiler: &'p Profiler, name: &str) -> Self {
        if profiler.is_off() {
            return Self::nowhere();
        }
        Self::enter(profiler, name, None, Observed::Elapsed)
    }

    #[inline]
    pub(super) fn enter(
        profiler: &'p Profiler,
        name: &str,
        decided: Option<bool>,
        observed: Observed,
    ) -> Self {
        let tree = profiler.core.tree();
        // SAFETY: a tree lives as long as its profiler, which is borrowed, or until its thread has
        // ended and nothing on it is open.
        let frame = unsafe { &*tree }.enter(name, decided);
        Self {
            tree,
            frame,
            observed,
            profiler: PhantomData,
        }
    }

    /// A scope that nothing is recorded of.
    #[inline]
    pub(super) fn nowhere() -> Self {
        Self {
            tree: ptr::null(),
            frame: Frame::unrecorded(),
            observed: Observed::Nothing,
            profiler: PhantomData,
        }
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.frame.is_recorded()
    }
}

impl Drop for ProfileScope<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: null, or a tree that lives because this scope is open on it and the profiler is
        // borrowed.
        let Some(tree) = (unsafe { self.tree.as_ref() }) else {
            return;
        };
        // SAFETY: the frame came from this tree.
        let is_done = unsafe { tree.leave(&self.frame, self.observed) };
        if is_done {
            retire(self.tree);
        }
    }
}

#[cold]
fn retire(tree: *const Tree) {
    // SAFETY: it lives until it is retired, and this is the one scope that was told to do that.
    let core = unsafe { &*tree }.core.upgrade();
    if let Some(core) = core {
        core.retire(tree);
    }
}
