//! A scope that is entered whenever a future is polled, on whatever thread.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    Profiler,
    scope::ProfileScope,
    tree::{Observed, Tree},
};
use crate::clock::{self, Ticks};

pin_project! {
    /// A future that is a scope; see [`Profiler::scope_future`].
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct ScopeFuture<F> {
        #[pin]
        future: F,
        scope: AcrossPolls,
    }
}

/// What is known of the scope between two polls.
#[derive(Debug)]
struct AcrossPolls {
    profiler: Profiler,
    name: Box<str>,
    /// `None` before the first poll, and after the last.
    begun: Option<Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Ticks,
    is_recorded: bool,
}

impl<F> ScopeFuture<F> {
    pub(super) fn new(profiler: Profiler, name: &str, future: F) -> Self {
        Self {
            future,
            scope: AcrossPolls {
                profiler,
                name: name.into(),
                begun: None,
            },
        }
    }
}

impl<F: Future> Future for ScopeFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let AcrossPolls {
            profiler,
            name,
            begun,
        } = this.scope;
        if profiler.is_off() {
            return this.future.poll(context);
        }
        let now = clock::now();
        let decided = begun.map(|begun| begun.is_recorded);
        // Dropped after the scope.
        let _resumed = Resumed::on_this_thread(profiler, decided);
        let mut scope = enter(profiler, name, decided);
        let first = begun.get_or_insert(Begun {
            at: now,
            is_recorded: scope.is_recorded(),
        });
        let at = first.at;
        let poll = this.future.poll(context);
        if poll.is_ready() {
            *begun = None;
            scope.observed = Observed::Ticks(since(at));
        }
        poll
    }
}

impl Drop for AcrossPolls {
    /// A future that is dropped before its end has lasted until then.
    fn drop(&mut self) {
        if let Some(begun) = self.begun {
            let decided = Some(begun.is_recorded);
            let _resumed = Resumed::on_this_thread(&self.profiler, decided);
            let mut scope = enter(&self.profiler, &self.name, decided);
            scope.observed = Observed::Ticks(since(begun.at));
        }
    }
}

/// A thread that records what a future does, which was decided before, within a scope of the thread
/// that is not recorded. Goes on without when this is dropped.
#[derive(Debug)]
struct Resumed(Option<Arc<Tree>>);

impl Resumed {
    fn on_this_thread(profiler: &Profiler, decided: Option<bool>) -> Self {
        // Where all is recorded, no thread ever skips anything.
        let may_skip = decided == Some(true) && profiler.core.sample_rate < 1.0;
        let tree = may_skip.then(|| profiler.core.known_tree()).flatten();
        Self(tree.filter(|tree| tree.resume()))
    }
}

impl Drop for Resumed {
    fn drop(&mut self) {
        if let Some(tree) = &self.0 {
            tree.skip_again();
        }
    }
}

/// Enters the scope for a while that is not all of it.
fn enter<'p>(profiler: &'p Profiler, name: &str, decided: Option<bool>) -> ProfileScope<'p> {
    if decided == Some(false) && profiler.core.is_recording() {
        return ProfileScope::nowhere();
    }
    ProfileScope::enter(profiler, name, decided, Observed::Nothing)
}

fn since(begun: Ticks) -> u64 {
    clock::now().since(begun)
}
