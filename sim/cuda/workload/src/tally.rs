//! What was called, counted where it is called and by nobody else.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

/// Counts of the calls of a thread, or of all.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tally {
    calls: BTreeMap<&'static str, Calls>,
    /// Launches by kernel, failed ones included.
    launches: BTreeMap<String, u64>,
    /// Bytes of successful copies, by direction.
    copied_bytes: BTreeMap<&'static str, u64>,
    allocated_bytes: u64,
    freed_bytes: u64,
    /// Waits for streams, in the order in which a thread waited, one thread after another.
    waits: Vec<Wait>,
}

/// A wait for a stream of the thread's own, by the workload's clock.
#[derive(Debug, Serialize)]
struct Wait {
    /// Of the wait itself.
    wait_ns: u128,
    /// Since before the thread's first launch.
    since_launch_ns: u128,
}

#[derive(Debug, Default, Serialize)]
struct Calls {
    count: u64,
    errors: BTreeMap<u32, u64>,
}

static TOTAL: Mutex<Option<Tally>> = Mutex::new(None);

thread_local! {
    static OWN: RefCell<Tally> = RefCell::default();
}

/// Counts a call by its result, which it hands on.
pub(crate) fn call(name: &'static str, code: u32) -> u32 {
    OWN.with_borrow_mut(|own| {
        let calls = own.calls.entry(name).or_default();
        calls.count += 1;
        if code != 0 {
            *calls.errors.entry(code).or_default() += 1;
        }
    });
    code
}

/// Counts launches of a kernel; one that was not launched does not appear.
pub(crate) fn launched(kernel: &str, count: u64) {
    if count == 0 {
        return;
    }
    OWN.with_borrow_mut(|own| *own.launches.entry(kernel.to_owned()).or_default() += count);
}

/// Counts a copy that succeeded.
pub(crate) fn copied(direction: &'static str, bytes: usize) {
    OWN.with_borrow_mut(|own| *own.copied_bytes.entry(direction).or_default() += bytes as u64);
}

/// Counts an allocation that succeeded.
pub(crate) fn allocated(bytes: usize) {
    OWN.with_borrow_mut(|own| own.allocated_bytes += bytes as u64);
}

/// Counts a free that succeeded.
pub(crate) fn freed(bytes: usize) {
    OWN.with_borrow_mut(|own| own.freed_bytes += bytes as u64);
}

/// Notes a wait for a stream, and how long ago its launches began when it was over.
pub(crate) fn waited(wait: Duration, since_launch: Duration) {
    OWN.with_borrow_mut(|own| {
        own.waits.push(Wait {
            wait_ns: wait.as_nanos(),
            since_launch_ns: since_launch.as_nanos(),
        });
    });
}

/// Adds the calling thread's counts to the total.
pub(crate) fn finish_thread() {
    let own = OWN.take();
    let mut total = TOTAL.lock().unwrap_or_else(PoisonError::into_inner);
    let total = total.get_or_insert_default();
    for (name, calls) in own.calls {
        let sum = total.calls.entry(name).or_default();
        sum.count += calls.count;
        for (code, count) in calls.errors {
            *sum.errors.entry(code).or_default() += count;
        }
    }
    for (kernel, count) in own.launches {
        *total.launches.entry(kernel).or_default() += count;
    }
    for (direction, bytes) in own.copied_bytes {
        *total.copied_bytes.entry(direction).or_default() += bytes;
    }
    total.waits.extend(own.waits);
    total.allocated_bytes += own.allocated_bytes;
    total.freed_bytes += own.freed_bytes;
}

/// All threads that have finished, and this one.
pub(crate) fn total() -> Tally {
    finish_thread();
    let mut total = TOTAL.lock().unwrap_or_else(PoisonError::into_inner);
    total.take().unwrap_or_default()
}
