//! From a launch to the end of the wait for it: an upper bound of how long the device worked.
//!
//! A window begins with the first launch, on a stream or on a device, that nobody has waited for,
//! and ends with the next wait for that stream or for the whole device. A window that has ended
//! stays in the map for the next launch, so that hardly any launch makes an entry.
//!
//! Of a thread's launches on one stream, only the first since the last *turn* of the process's windows
//! is looked at: whatever ends a window, or has launches told apart by whether they came before it,
//! is a turn. The others, which are nearly all, find the window open, and change nothing.
//!
//! Threads that launch and wait on one stream at the same moment may begin or end a window at the
//! same time. One of them is first, and it is counted once; which of two launches a nanosecond
//! apart a window begins with is not kept exact.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{Array, HashMap, LruHashMap},
    macros::btf_map,
};
use monitoring_common::cuda::{
    Address, Hook, MAX_EVENTS, MAX_WINDOWS, NO_ARGUMENT, ProcessId, RecordedEvent, TURNS, Thread,
    Window, ended,
    kind::{RECORD_EVENT, SYNC, SYNC_EVENT},
    lost::DETAILS_FULL,
    pid_of,
};
use monitoring_ebpf::{atomic, lost::lost, trace};

use crate::{calls::observe, memory::sums_of, now_ns, rooms, spans};

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

/// Turns of windows, by process.
#[btf_map]
static WINDOW_TURNS: Array<u64, TURNS> = Array::new();

/// A launch on a stream.
#[inline(always)]
pub(crate) fn launched(thread: &mut Thread, stream: u64, at_ns: u64) {
    let device = thread.device.into();
    let name = name_of(stream, device);
    let Some(turn) = turn_of(thread.process) else {
        return;
    };
    // SAFETY: the pointer is to a map's value, of one word, which is read as a whole.
    let turn = unsafe { turn.read_volatile() };
    let same = thread.window == name && thread.window_device == u32::from(thread.device);
    if same && thread.window_turn == turn {
        return;
    }
    thread.begun_ns = 0;
    if opened(thread, name, at_ns) {
        thread.window = name;
        thread.window_device = thread.device.into();
        // As it was before the window was looked at: whatever came meanwhile is a turn.
        thread.window_turn = turn;
    }
    // Not from where it was opened: the stack would not do.
    if trace::is_on()
        && thread.begun_ns != 0
        && let Some(window) = WINDOWS.get_ptr_mut(key(thread.process, name))
        && let Some(all) = WINDOWS.get_ptr_mut(key(thread.process, all_of(device)))
    {
        rooms::begun(thread, window, all, turn, thread.begun_ns);
        take_part(thread, window);
    }
}

/// Opens a stream's window for a launch. Whether there was room for it.
#[inline(never)]
fn opened(thread: &mut Thread, name: u64, at_ns: u64) -> bool {
    let (process, device) = (thread.process, thread.device.into());
    thread.room = 0;
    let (Some(window), Some(all)) = (window_of(process, name), window_of(process, all_of(device)))
    else {
        return false;
    };
    let now_ns = if at_ns == 0 { now_ns() } else { at_ns };
    // SAFETY: entries are removed when their process is no more; what a program has found stays
    // readable while it runs. Single words are read and written as a whole.
    unsafe {
        let first_ns = (*window).first_ns;
        (*window).last_ns = now_ns;
        (*window).device = device;
        if first_ns != 0 && first_ns >= (*all).synced_ns {
            take_part(thread, window);
            return true;
        }
        if atomic::compare_exchange(&raw mut (*window).first_ns, first_ns, now_ns) != first_ns {
            return true;
        }
        atomic::add(&raw mut (*all).open, 1);
        let _ = atomic::compare_exchange(&raw mut (*all).first_ns, 0, now_ns);
        thread.begun_ns = now_ns;
    }
    true
}

/// A thread's calls are kept where its window's are.
#[inline(always)]
fn take_part(thread: &mut Thread, window: *mut Window) {
    if trace::is_on() {
        // SAFETY: the pointer is to a map's value. Words that do not belong together are no room.
        unsafe {
            thread.room = (*window).room;
            thread.room_since_ns = (*window).room_since_ns;
        }
    }
}

/// A call is entered that tells launches before it from those behind it.
#[inline(always)]
pub(crate) fn divides(hook: Hook, thread: &Thread) {
    if hook.waits() || matches!(hook.kind(), SYNC | RECORD_EVENT) {
        turn(thread.process);
    }
}

/// Has each thread of a process look at its window again. Called when windows have ended: earlier, a
/// thread might take a window for open that is about to end.
#[inline(always)]
fn turn(process: ProcessId) {
    if let Some(turn) = turn_of(process) {
        atomic::add(turn, 1);
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "a small number")]
fn turn_of(process: ProcessId) -> Option<*mut u64> {
    WINDOW_TURNS.get_ptr_mut(pid_of(process) % TURNS as u32)
}

/// The end of a wait for launches. Argument: the stream, if only one was waited for.
#[inline(always)]
pub(crate) fn synchronized(hook: Hook, thread: &mut Thread, left_ns: u64) {
    if hook.argument(0) != NO_ARGUMENT {
        stream_ended(thread, thread.arguments[0], left_ns);
        return;
    }
    let name = all_of(thread.device.into());
    let Some(all) = WINDOWS.get_ptr_mut(key(thread.process, name)) else {
        return;
    };
    // SAFETY: as in `opened`.
    unsafe {
        let (begun_ns, open) = ((*all).first_ns, (*all).open);
        // Launches from then on may not have been waited for.
        (*all).synced_ns = thread.entered_ns;
        (*all).open = 0;
        ends(thread, all);
        if begun_ns != 0
            && atomic::compare_exchange(&raw mut (*all).first_ns, begun_ns, 0) == begun_ns
        {
            executed(thread, begun_ns, left_ns);
            if spans::is_of_interest(thread, thread.ended_room != 0, begun_ns, left_ns) {
                thread.ended = ended::DEVICE;
                thread.ended_window = name;
                thread.begun_ns = begun_ns;
                thread.next_ns = open;
            }
        }
    }
    turn(thread.process);
}

/// The end of a wait for all launches on a stream.
#[inline(always)]
pub(crate) fn stream_ended(thread: &mut Thread, stream: u64, left_ns: u64) {
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
pub(crate) fn event_ended(thread: &mut Thread, left_ns: u64) {
    // SAFETY: what a program has found stays readable while it runs. A torn pair is an event that
    // one thread waits for while another puts it elsewhere.
    if let Some(event) = unsafe { EVENTS.get(key(thread.process, thread.arguments[0])) } {
        end(thread, event.stream, event.recorded_ns, left_ns);
    }
}

/// A wait for launches has failed. A window whose calls are kept is told of: they may be why.
#[inline(always)]
pub(crate) fn failed(hook: Hook, thread: &mut Thread) {
    let is_device = hook.argument(0) == NO_ARGUMENT;
    let name = if hook.kind() == SYNC_EVENT {
        // SAFETY: as in `event_ended`.
        match unsafe { EVENTS.get(key(thread.process, thread.arguments[0])) } {
            Some(event) => event.stream,
            None => return,
        }
    } else if is_device {
        all_of(thread.device.into())
    } else {
        name_of(thread.arguments[0], thread.device.into())
    };
    if let Some(window) = WINDOWS.get_ptr_mut(key(thread.process, name)) {
        // SAFETY: as in `opened`.
        unsafe {
            if (*window).first_ns != 0 && (*window).room != 0 && (*window).chain != spans::TOLD {
                thread.ended = if is_device {
                    ended::DEVICE
                } else {
                    ended::STREAM
                };
                thread.ended_window = name;
                ends(thread, window);
                thread.begun_ns = (*window).first_ns;
                thread.next_ns = if is_device { (*window).open } else { 0 };
            }
        }
    }
}

/// A thread is about to end a window: what that has is the next one's as soon as it has ended.
#[inline(always)]
fn ends(thread: &mut Thread, window: *mut Window) {
    if trace::is_on() {
        // SAFETY: as in `take_part`.
        unsafe {
            thread.ended_chain = (*window).chain;
            thread.ended_room = (*window).room;
            thread.ended_room_since_ns = (*window).room_since_ns;
        }
    }
}

/// The window that a thread's call has ended, the turn of its process's windows, and the stream as
/// calls have it.
#[inline(always)]
pub(crate) fn ended_by(thread: &Thread) -> Option<(*mut Window, u64, u64)> {
    let name = thread.ended_window;
    let window = WINDOWS.get_ptr_mut(key(thread.process, name))?;
    let turn = turn_of(thread.process)?;
    let stream = if name & OF_DEVICE == 0 {
        name
    } else {
        name & 0xff
    };
    // SAFETY: as in `launched`.
    Some((window, unsafe { turn.read_volatile() }, stream))
}

/// Ends a stream's window as far as launches before a moment go.
#[inline(always)]
fn end(thread: &mut Thread, name: u64, before_ns: u64, left_ns: u64) {
    let Some(window) = WINDOWS.get_ptr_mut(key(thread.process, name)) else {
        return;
    };
    // SAFETY: as in `opened`.
    let device = unsafe { (*window).device };
    let Some(all) = WINDOWS.get_ptr_mut(key(thread.process, all_of(device))) else {
        return;
    };
    // SAFETY: as in `opened`.
    unsafe {
        let begun_ns = (*window).first_ns;
        if begun_ns == 0 || begun_ns > before_ns || begun_ns < (*all).synced_ns {
            return;
        }
        // Launches that came later are waited for by nobody yet; the first of them was made after
        // that moment.
        let later = (*window).last_ns > before_ns;
        let next_ns = if later { before_ns } else { 0 };
        ends(thread, window);
        if atomic::compare_exchange(&raw mut (*window).first_ns, begun_ns, next_ns) != begun_ns {
            return;
        }
        turn(thread.process);
        executed(thread, begun_ns, left_ns);
        let has_room = thread.ended_room != 0 || later;
        if spans::is_of_interest(thread, has_room, begun_ns, left_ns) {
            thread.ended = ended::STREAM;
            thread.ended_window = name;
            thread.begun_ns = begun_ns;
            thread.next_ns = next_ns;
        }
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
        chain: 0,
        room: 0,
        room_since_ns: 0,
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
