//! From a launch to the end of the wait for it: an upper bound of how long the device worked.
//!
//! A window begins with the first launch, on a stream or by a process, that nobody has waited for,
//! and ends with the next wait for that stream or for the whole device.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use monitoring_common::cuda::{
    Address, Hook, MAX_WINDOWS, NO_ARGUMENT, Thread, lost::DETAILS_FULL,
};
use monitoring_ebpf::{atomic, lost::lost};

use crate::{calls::observe, contexts::address, memory::sums_of};

/// Stands for all streams of a process. No stream has this handle: they are addresses, or 0 to 2.
const ALL_STREAMS: u64 = u64::MAX;

/// When the first launch of each window was made.
#[btf_map]
static WINDOWS: HashMap<Address, u64, MAX_WINDOWS, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Changes whenever a window has ended, of whichever process: who has seen its own begun need not
/// look again until then. Counts from 0, and threads begin at 0: see [`epoch`].
#[btf_map]
static WINDOW_EPOCH: Array<u64, 1> = Array::new();

/// Never 0, which is a thread's before its first launch.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn epoch() -> u32 {
    // Another CPU may write it, in one instruction.
    let ended = WINDOW_EPOCH
        .get_ptr(0)
        // SAFETY: an aligned word of a map's value.
        .map_or(0, |epoch| unsafe { epoch.read_volatile() });
    ended as u32 | 1 << 31
}

/// A launch on a stream.
#[inline(always)]
pub(crate) fn launched(thread: &mut Thread, stream: u64, now_ns: impl FnOnce() -> u64) {
    // Read before the windows are looked at: one that ends meanwhile is looked at again.
    let epoch = epoch();
    if thread.window_epoch == epoch && thread.window_stream == stream {
        return;
    }
    thread.window_epoch = epoch;
    thread.window_stream = stream;
    let now_ns = now_ns();
    for window in [stream, ALL_STREAMS] {
        let key = address(window);
        // Looked up first, which takes no lock: most windows have begun.
        if WINDOWS.get_ptr(key).is_none()
            && WINDOWS.insert(key, now_ns, BPF_NOEXIST.into()).is_err()
            && WINDOWS.get_ptr(key).is_none()
        {
            lost(DETAILS_FULL);
        }
    }
}

/// A call that returned when the device had done something.
#[inline(always)]
pub(crate) fn waited(thread: &Thread, duration_ns: u64) {
    if let Some(sums) = sums_of(thread) {
        // SAFETY: the pointer is to a map's value; only an address is taken.
        atomic::add(unsafe { &raw mut (*sums).waited_ns }, duration_ns);
    }
}

/// The end of a wait for launches. Argument: the stream, if only one was waited for.
#[inline(always)]
pub(crate) fn ended(hook: Hook, thread: &Thread, left_ns: u64) {
    let stream = if hook.argument(0) == NO_ARGUMENT {
        ALL_STREAMS
    } else {
        thread.arguments[0]
    };
    let key = address(stream);
    let Some(begun) = WINDOWS.get_ptr(key) else {
        return;
    };
    // SAFETY: what a program has found stays readable while it runs.
    let begun_ns = unsafe { *begun };
    // Whoever removes the window has seen its end.
    if WINDOWS.remove(key).is_err() {
        return;
    }
    if let Some(epoch) = WINDOW_EPOCH.get_ptr_mut(0) {
        atomic::add(epoch, 1);
    }
    if let Some(sums) = sums_of(thread) {
        let execution_ns = left_ns.wrapping_sub(begun_ns);
        // SAFETY: as above.
        observe(unsafe { &raw mut (*sums).execution }, execution_ns);
    }
}
