//! What a thread has for itself, so that starting and ending spans shares nothing with other
//! threads: random numbers, the current span, spare boxes, and its lane of each tracer.
//!
//! Knows nothing of what a span is.

use std::{
    cell::{Cell, RefCell},
    ptr,
};

use super::{
    current::Current,
    open::Spares,
    random::Random,
    spool::{Lane, Outcome, Spool},
};

/// A thread's own. It needs no destructor, so that it is there as long as the thread runs.
pub(super) struct Own {
    pub(super) random: Random,
    pub(super) current: Current,
    pub(super) spares: Spares,
    /// The spool that was used last, whose lane is the one below.
    spool: Cell<*const Spool>,
    lane: Cell<*const Lane>,
}

/// The lanes of this thread, which are given up when it ends. A tracer lives as long as the process,
/// so that its address is its name.
struct Lanes(Vec<(&'static Spool, Box<Lane>)>);

thread_local! {
    static OWN: Own = const {
        Own {
            random: Random::unseeded(),
            current: Current::none(),
            spares: Spares::none(),
            spool: Cell::new(ptr::null()),
            lane: Cell::new(ptr::null()),
        }
    };
    static LANES: RefCell<Lanes> = const { RefCell::new(Lanes(Vec::new())) };
}

/// Calls `f` with what is this thread's own.
#[inline]
pub(super) fn with<R>(f: impl FnOnce(&Own) -> R) -> R {
    OWN.with(f)
}

/// What is this thread's own, for those who must not pay for a call with a closure.
///
/// # Safety
///
/// The thread is running as long as the answer is used: it is not put anywhere.
#[inline(always)]
pub(super) unsafe fn own<'a>() -> &'a Own {
    let own = OWN.with(ptr::from_ref);
    // SAFETY: It has no destructor, so that it is there until the thread is gone.
    unsafe { &*own }
}

impl Own {
    /// Calls `f` with this thread's lane of a spool; with the one that ending threads share, once
    /// the thread has given up its own.
    #[inline]
    pub(super) fn with_lane<R>(&self, spool: &'static Spool, f: impl FnOnce(&Lane) -> R) -> R {
        let lane = if ptr::eq(self.spool.get(), spool) {
            self.lane.get()
        } else {
            self.find(spool)
        };
        if lane.is_null() {
            return f(&spool.late());
        }
        // SAFETY: The box is in this thread's list, which keeps it until the thread ends and forgets
        // this address then.
        f(unsafe { &*lane })
    }

    /// Counts a span that was not recorded.
    #[inline]
    pub(super) fn count(&self, spool: &'static Spool, outcome: Outcome) {
        if !ptr::eq(self.spool.get(), spool) {
            return self.count_elsewhere(spool, outcome);
        }
        // SAFETY: As in `with_lane`. It is not null, as the spool is not.
        unsafe { &*self.lane.get() }.count(outcome);
    }

    #[cold]
    #[inline(never)]
    fn count_elsewhere(&self, spool: &'static Spool, outcome: Outcome) {
        self.with_lane(spool, |lane| lane.count(outcome));
    }

    /// The lane of a spool that was not the last one used; null if the thread is ending.
    #[cold]
    #[inline(never)]
    fn find(&self, spool: &'static Spool) -> *const Lane {
        let find = |lanes: &RefCell<Lanes>| {
            let lanes = &mut lanes.borrow_mut().0;
            let place = lanes.iter().position(|(of, _)| ptr::eq(*of, spool));
            let place = place.unwrap_or_else(|| {
                lanes.push((spool, Box::new(spool.open())));
                lanes.len() - 1
            });
            ptr::from_ref(&*lanes[place].1)
        };
        let lane = LANES.try_with(find).unwrap_or(ptr::null());
        if !lane.is_null() {
            self.spool.set(spool);
            self.lane.set(lane);
            self.spares.keep();
        }
        lane
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        with(|own| {
            own.spool.set(ptr::null());
            own.lane.set(ptr::null());
            own.spares.give_up();
        });
        for (_, lane) in self.0.drain(..) {
            lane.end();
        }
    }
}
