//! From a launch to the end of the wait for it: an upper bound of how long the device worked.
//!
//! A window begins with the first launch, on a stream or on a device, that nobody has waited for,
//! and ends with the next wait for that stream or for the whole device. A window that has ended
//! stays in the map for the next launch, so that hardly any launch makes an entry.
//!
//! Threads that launch and wait on one stream at the same moment may begin or end a window at the
//! same time. One of them is first, and it is counted once; which of two launches a nanosecond
//! apart a window begins with is not kept exact.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{HashMap, LruHashMap},
    helpers::bpf_get_current_pid_tgid,
    macros::btf_map,
};
use monitoring_common::cuda::{
    Address, Hook, MAX_EVENTS, MAX_WAITING, MAX_WINDOWS, NO_ARGUMENT, ProcessId, RecordedEvent,
    Thread, Waiting, Window, lost::DETAILS_FULL,
};
use monitoring_ebpf::{atomic, lost::lost};

use crate::{calls::observe, memory::sums_of};

/// Handles up to this one are the default streams, of which each device has its own. The others are
/// addresses.
const LAST_DEFAULT_STREAM: u64 = 2;

/// Marks what is of a device: no address has this bit.
const OF_DEVICE: u64 = 1 << 63;

/// What a stream is called here.
#[inline(always)]
fn name_of(stream: u64, device: u64) -> u64 {
    if stream > LAST_DEFAULT_STREAM {
        return stream;
    }
    OF_DEVICE | device << 8 | stream
}

/// What all streams of a device together are called.
#[inline(always)]
fn all_of(device: u64) -> u64 {
    OF_DEVICE | device << 8 | 0xff
}

#[btf_map]
static WINDOWS: HashMap<Address, Window, MAX_WINDOWS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Events that are in streams. When there are too many, those that nobody has used for long make
/// room.
#[btf_map]
static EVENTS: LruHashMap<Address, RecordedEvent, MAX_EVENTS> = LruHashMap::new();

/// Threads in calls that wait, by their ids.
#[btf_map]
static WAITING: HashMap<u32, Waiting, MAX_WAITING, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// A launch on a stream.
#[inline(always)]
pub(crate) fn launched(thread: &Thread, stream: u64, now_ns: u64) {
    let (process, device) = (thread.process, thread.device.into());
    let (Some(window), Some(all)) = (
        window_of(process, name_of(stream, device)),
        window_of(process, all_of(device)),
    ) else {
        return;
    };
    // SAFETY: entries are removed when their process is no more; what a program has found stays
    // readable while it runs. Single words are read and written as a whole.
    unsafe {
        let first_ns = (*window).first_ns;
        (*window).last_ns = now_ns;
        (*window).device = device;
        if first_ns != 0 && first_ns >= (*all).synced_ns {
            return;
        }
        if atomic::compare_exchange(&raw mut (*window).first_ns, first_ns, now_ns) != first_ns {
            return;
        }
        atomic::add(&raw mut (*all).open, 1);
        let _ = atomic::compare_exchange(&raw mut (*all).first_ns, 0, now_ns);
    }
}

/// A thread enters a call that waits.
#[inline(always)]
pub(crate) fn waits(thread: &Thread) {
    let waiting = Waiting {
        entered_ns: thread.entered_ns,
        agent: thread.agent,
        padding: [0; 3],
    };
    if WAITING.insert(thread_id(), waiting, 0).is_err() {
        lost(DETAILS_FULL);
    }
}

/// A thread leaves a call that waits.
#[inline(always)]
pub(crate) fn waits_no_longer() {
    // It is not there if there were too many.
    let _ = WAITING.remove(thread_id());
}

/// A call that returned when the device had done something.
#[inline(always)]
pub(crate) fn waited(thread: &Thread, duration_ns: u64) {
    if let Some(sums) = sums_of(thread) {
        // SAFETY: the pointer is to a map's value; only an address is taken.
        atomic::add(unsafe { &raw mut (*sums).waited_ns }, duration_ns);
    }
    // Now that the time is in the sum: whoever reads the sum first, then who waits, counts no time
    // twice.
    waits_no_longer();
}

/// The end of a wait for launches. Argument: the stream, if only one was waited for.
#[inline(always)]
pub(crate) fn ended(hook: Hook, thread: &Thread, left_ns: u64) {
    if hook.argument(0) != NO_ARGUMENT {
        stream_ended(thread, thread.arguments[0], left_ns);
        return;
    }
    let all = all_of(thread.device.into());
    let Some(all) = WINDOWS.get_ptr_mut(key(thread.process, all)) else {
        return;
    };
    // SAFETY: as in `launched`.
    unsafe {
        let begun_ns = (*all).first_ns;
        // Launches from then on may not have been waited for.
        (*all).synced_ns = thread.entered_ns;
        (*all).open = 0;
        if begun_ns != 0
            && atomic::compare_exchange(&raw mut (*all).first_ns, begun_ns, 0) == begun_ns
        {
            executed(thread, begun_ns, left_ns);
        }
    }
}

/// The end of a wait for all launches on a stream.
#[inline(always)]
pub(crate) fn stream_ended(thread: &Thread, stream: u64, left_ns: u64) {
    let name = name_of(stream, thread.device.into());
    end(thread, name, thread.entered_ns, left_ns);
}

/// An event is put into a stream. Arguments: event, stream.
#[inline(always)]
pub(crate) fn recorded(thread: &Thread) {
    let [event, stream, _, _] = thread.arguments;
    let recorded = RecordedEvent {
        stream: name_of(stream, thread.device.into()),
        recorded_ns: thread.entered_ns,
    };
    if EVENTS
        .insert(key(thread.process, event), recorded, 0)
        .is_err()
    {
        lost(DETAILS_FULL);
    }
}

/// What was in a stream before an event has ended. Argument: the event.
#[inline(always)]
pub(crate) fn event_ended(thread: &Thread, left_ns: u64) {
    // SAFETY: what a program has found stays readable while it runs. A torn pair is an event that
    // one thread waits for while another puts it elsewhere.
    if let Some(event) = unsafe { EVENTS.get(key(thread.process, thread.arguments[0])) } {
        end(thread, event.stream, event.recorded_ns, left_ns);
    }
}

/// Ends a stream's window as far as launches before a moment go.
#[inline(always)]
fn end(thread: &Thread, name: u64, before_ns: u64, left_ns: u64) {
    let Some(window) = WINDOWS.get_ptr_mut(key(thread.process, name)) else {
        return;
    };
    // SAFETY: as in `launched`.
    let device = unsafe { (*window).device };
    let Some(all) = WINDOWS.get_ptr_mut(key(thread.process, all_of(device))) else {
        return;
    };
    // SAFETY: as in `launched`.
    unsafe {
        let begun_ns = (*window).first_ns;
        if begun_ns == 0 || begun_ns > before_ns || begun_ns < (*all).synced_ns {
            return;
        }
        // Launches that came later are waited for by nobody yet; the first of them was made after
        // that moment.
        let later = (*window).last_ns > before_ns;
        let next_ns = if later { before_ns } else { 0 };
        if atomic::compare_exchange(&raw mut (*window).first_ns, begun_ns, next_ns) != begun_ns {
            return;
        }
        executed(thread, begun_ns, left_ns);
        if later {
            return;
        }
        atomic::add(&raw mut (*all).open, u64::MAX);
        if (*all).open == 0 {
            (*all).first_ns = 0;
        }
    }
}

#[inline(always)]
fn executed(thread: &Thread, begun_ns: u64, left_ns: u64) {
    if let Some(sums) = sums_of(thread) {
        let execution_ns = left_ns.wrapping_sub(begun_ns);
        // SAFETY: the pointer is to a map's value; only an address is taken.
        observe(unsafe { &raw mut (*sums).execution }, execution_ns);
    }
}

#[inline(always)]
fn window_of(process: ProcessId, name: u64) -> Option<*mut Window> {
    let key = key(process, name);
    let found = WINDOWS.get_ptr_mut(key);
    if found.is_some() {
        return found;
    }
    let none = Window {
        first_ns: 0,
        last_ns: 0,
        synced_ns: 0,
        open: 0,
        device: 0,
    };
    // Another thread may be first; its entry serves as well.
    let _ = WINDOWS.insert(key, none, BPF_NOEXIST.into());
    let made = WINDOWS.get_ptr_mut(key);
    if made.is_none() {
        lost(DETAILS_FULL);
    }
    made
}

#[inline(always)]
fn key(process: ProcessId, value: u64) -> Address {
    Address { value, process }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
fn thread_id() -> u32 {
    bpf_get_current_pid_tgid() as u32
}
