//! What happens within a window, kept until the window ends: only then it is known whether somebody
//! waited for it so long that it becomes a span, and then all of it does.
//!
//! Which windows are kept is decided when they begin, by the process and the turn of its windows: so
//! all streams that are launched on between two waits are kept, or none. A window that begins where
//! another one ends, because more was launched before the wait was over, has launches that were made
//! before it was known. So a stream that gets a room then is told of from its first window on that
//! began after that.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use monitoring_common::{
    cuda::{Hook, ProcessId, Thread, Window, pid_of},
    trace::{
        Header, Record, ThreadContext, chain,
        cuda::{CudaDetail, KEPT, Kept, NEVER_DRAWN, ROOM_AGE_NS, ROOMS as COUNT, Room},
        flags::{FAILED, JOINED},
        kind::{CUDA_CALL, CUDA_LAUNCH},
        lot, parent,
    },
};
use monitoring_ebpf::{atomic, bounds::within, trace};

use crate::telling::{Telling, describe, kind_of, telling};

#[btf_map]
static ROOMS: Array<Room, COUNT> = Array::new();

/// Rooms that are looked at to find a free one.
const PLACES: u64 = 8;

/// Attempts to get a place in a room while other threads do.
const ATTEMPTS: usize = 4;

/// A room, by its number from 1 on, if it is still what somebody has had since then.
#[inline(always)]
pub(crate) fn room(number: u64, since_ns: u64) -> Option<*mut Room> {
    if number == 0 {
        return None;
    }
    let room = numbered(number - 1)?;
    // SAFETY: the pointer is to a map's value; the word is read as a whole.
    let now_since_ns = unsafe { (&raw const (*room).since_ns).read_volatile() };
    (now_since_ns == since_ns).then_some(room)
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "below the number of rooms")]
pub(crate) fn numbered(number: u64) -> Option<*mut Room> {
    const LAST: u64 = COUNT as u64 - 1;
    ROOMS.get_ptr_mut(within::<LAST>(number) as u32)
}

/// A call by itself is chosen as the window is that its thread's launches are kept for, and lies within
/// the same span of the application's, if it is in none of its own. Counts it if it is a launch.
#[inline(never)]
pub(crate) fn lend(thread: &Thread, telling: &mut Telling) {
    let Some(room) = room(thread.room, thread.room_since_ns) else {
        return;
    };
    // SAFETY: the pointer is to a map's value.
    unsafe {
        telling.event.window_start_ns = (*room).window_ns;
        telling.event.chain = (*room).chain;
        let context = (*room).context;
        if telling.origin.parent == parent::NONE && context != ThreadContext::NONE {
            telling.origin.parent = parent::SAMPLED;
            telling.origin.context = context;
        }
        if thread.code == 0 && kind_of(Hook(thread.hook)) == CUDA_LAUNCH {
            atomic::add(&raw mut (*room).launches, 1);
        }
    }
}

/// A thread's launch has begun a stream's window. `all` is that of all its device's streams.
#[inline(never)]
pub(crate) fn begun(
    thread: &mut Thread,
    window: *mut Window,
    all: *mut Window,
    turn: u64,
    at_ns: u64,
) {
    // SAFETY: both are values of a map.
    let window = unsafe { &mut *window };
    // SAFETY: as above.
    let all = unsafe { &mut *all };
    let drawn_by = chain(pid_of(thread.process), turn);
    window.chain = drawn_by;
    if all.first_ns == at_ns {
        all.chain = drawn_by;
    }
    window.room = 0;
    // Without a room, too: it is another window by now.
    window.room_since_ns = at_ns;
    if !trace::is_traced(thread.agent.into()) {
        return;
    }
    if !joins(thread) && !trace::is_drawn(drawn_by) {
        return;
    }
    window.room = given(thread, at_ns);
    if let Some(room) = room_numbered(window.room) {
        room.window_ns = at_ns;
        room.context = thread.opener;
        room.chain = drawn_by;
        all.room = 1;
    }
}

/// Whether a thread is in a span of its application's that is recorded; notes which.
#[inline(always)]
fn joins(thread: &mut Thread) -> bool {
    thread.opener = ThreadContext::NONE;
    if !trace::publishes(pid_of(thread.process)) {
        return false;
    }
    let Some(telling) = telling() else {
        return false;
    };
    trace::write_origin(&mut telling.origin, thread.agent);
    let is_recorded = telling.origin.parent == parent::SAMPLED;
    if is_recorded {
        thread.opener = telling.origin.context;
    }
    is_recorded
}

#[inline(always)]
fn room_numbered(number: u64) -> Option<&'static mut Room> {
    if number == 0 {
        return None;
    }
    // SAFETY: the pointer is to a map's value.
    numbered(number - 1).map(|room| unsafe { &mut *room })
}

/// Finds a room for a thread's window, and gives its number, or 0.
#[inline(never)]
fn given(thread: &Thread, at_ns: u64) -> u64 {
    let first = u64::from(lot(at_ns ^ thread.process));
    for step in 0..PLACES {
        let number = (first + step) & (COUNT as u64 - 1);
        let Some(room) = numbered(number) else {
            return 0;
        };
        // SAFETY: the pointer is to a map's value. Whoever changes this word has the room; others
        // find that it is no longer theirs.
        unsafe {
            let since_ns = (&raw const (*room).since_ns).read_volatile();
            // Whoever has just taken it has not said yet for which window.
            let used_ns = since_ns.max((*room).window_ns);
            if since_ns != 0 && at_ns.saturating_sub(used_ns) < ROOM_AGE_NS {
                continue;
            }
            if atomic::compare_exchange(&raw mut (*room).since_ns, since_ns, at_ns) != since_ns {
                continue;
            }
            (*room).process = thread.process;
            (*room).device = thread.device.into();
            // Numbers go on, so that what somebody still writes for another window has an old one.
            let kept = (&raw const (*room).kept).read_volatile();
            (*room).told = kept;
            (*room).until = kept;
            (*room).launches = 0;
            (*room).left_out = 0;
            (*room).long_ns = 0;
        }
        return number + 1;
    }
    0
}

/// Keeps a call of a thread that has a room. Whether it did, or has counted that there was no place.
#[inline(never)]
pub(crate) fn keep(thread: &mut Thread, end_ns: u64, flags: u16) -> bool {
    const LAST: u64 = KEPT as u64 - 1;
    let Some(room) = room(thread.room, thread.room_since_ns) else {
        return false;
    };
    // SAFETY: the pointer is to a map's value; only addresses are taken, and words read as a whole.
    unsafe {
        if kind_of(Hook(thread.hook)) == CUDA_LAUNCH {
            atomic::add(&raw mut (*room).launches, 1);
        }
        if trace::is_slow::<CUDA_CALL>(end_ns.wrapping_sub(thread.entered_ns)) {
            (*room).long_ns = thread.entered_ns;
        }
        if !take_place(room, thread) {
            atomic::add(&raw mut (*room).left_out, 1);
            return true;
        }
        // From where the verifier does not know it: it would follow each attempt.
        let number = (&raw const thread.place).read_volatile();
        let kept = &raw mut (*room).spans[within::<LAST>(number)];
        write(&mut (*kept).record, thread, end_ns, flags);
        // Last, and after all else on any machine.
        let old = (&raw const (*kept).number).read_volatile();
        let _ = atomic::compare_exchange(&raw mut (*kept).number, old, number + 1);
    }
    true
}

/// Takes a place in a room for a thread, if there is any.
#[inline(never)]
fn take_place(room: *mut Room, thread: &mut Thread) -> bool {
    for _ in 0..ATTEMPTS {
        // SAFETY: as above.
        unsafe {
            let number = (&raw const (*room).kept).read_volatile();
            if number.wrapping_sub((&raw const (*room).told).read_volatile()) >= KEPT as u64 {
                return false;
            }
            if atomic::compare_exchange(&raw mut (*room).kept, number, number + 1) == number {
                thread.place = number;
                return true;
            }
        }
    }
    false
}

/// A call's span.
#[inline(never)]
#[allow(clippy::cast_possible_truncation, reason = "kinds are few")]
fn write(record: &mut Record<CudaDetail>, thread: &Thread, end_ns: u64, flags: u16) {
    let Some(telling) = telling() else {
        return;
    };
    let origin = &mut telling.origin;
    trace::write_origin(origin, thread.agent);
    let header: &mut Header = &mut record.header;
    header.start_ns = thread.entered_ns;
    header.end_ns = end_ns;
    header.call_start_ns = 0;
    header.window_start_ns = 0;
    header.process_start_ns = origin.process_start_ns;
    header.pid = origin.pid;
    header.tid = origin.tid;
    header.agent = thread.agent;
    header.kind = kind_of(Hook(thread.hook)) as u8;
    header.flags = if origin.parent == parent::SAMPLED {
        JOINED
    } else {
        0
    };
    header.code = thread.code.cast_signed();
    if thread.code != 0 {
        header.flags |= FAILED;
    }
    header.context = origin.context;
    header.comm = origin.comm;
    describe(&mut record.detail, thread);
    record.detail.flags |= flags;
}

/// Sees which of a room's spans are of a window that ended, if the next one began at a time (0: there
/// is none).
#[inline(never)]
pub(crate) fn divide(room: *mut Room, next_ns: u64) {
    const LAST: u64 = KEPT as u64 - 1;
    // SAFETY: the pointer is to a map's value, and the places are within. What the loop finds is put
    // there and read again, so that the verifier does not tell all its outcomes apart.
    unsafe {
        let [cursor, until, later] = [
            &raw mut (*room).cursor,
            &raw mut (*room).until,
            &raw mut (*room).later,
        ];
        later.write_volatile(0);
        if next_ns != 0 {
            cursor.write_volatile((*room).told);
            until.write_volatile(u64::MAX);
            for _ in 0..KEPT {
                let number = cursor.read_volatile();
                if number >= (&raw const (*room).kept).read_volatile() {
                    break;
                }
                cursor.write_volatile(number + 1);
                let header = &raw const (*room).spans[within::<LAST>(number)].record.header;
                if (*header).start_ns >= next_ns && until.read_volatile() == u64::MAX {
                    until.write_volatile(number);
                }
                if until.read_volatile() != u64::MAX && usize::from((*header).kind) == CUDA_LAUNCH {
                    later.write_volatile(later.read_volatile() + 1);
                }
            }
            if until.read_volatile() != u64::MAX {
                return;
            }
        }
        until.write_volatile((&raw const (*room).kept).read_volatile());
    }
}

/// What becomes of a stream's room when a window has ended, and the next one began at a time (0:
/// there is none). Another thread may have begun a window since: that one's room is its own.
#[inline(never)]
pub(crate) fn go_on(thread: &Thread, window: *mut Window, next_ns: u64, turn: u64, now_ns: u64) {
    // SAFETY: the pointer is to a map's value.
    let window = unsafe { &mut *window };
    let since_ns = thread.ended_room_since_ns;
    let is_another = window.room_since_ns != since_ns;
    let drawn_by = chain(pid_of(thread.process), turn);
    let is_drawn = trace::is_drawn(drawn_by);
    if let Some(room) = room(thread.ended_room, since_ns) {
        // SAFETY: as above.
        let room = unsafe { &mut *room };
        // None of its windows has been whole so far: it is kept for the first that is.
        let waits = room.window_ns < since_ns;
        if is_another || next_ns == 0 || !(is_drawn || waits) {
            room.told = room.kept;
            room.since_ns = 0;
            if is_another {
                return;
            }
            window.room = 0;
            window.chain = NEVER_DRAWN;
            return;
        }
        room.told = room.until;
        room.launches = room.later;
        room.left_out = 0;
        room.context = ThreadContext::NONE;
        room.window_ns = next_ns;
        if !waits {
            room.chain = drawn_by;
        }
        window.chain = if next_ns < since_ns {
            NEVER_DRAWN
        } else {
            room.chain
        };
        return;
    }
    if is_another {
        return;
    }
    window.chain = NEVER_DRAWN;
    window.room = 0;
    if next_ns == 0 || !is_drawn || !trace::is_traced(thread.agent.into()) {
        return;
    }
    window.room = given(thread, now_ns);
    window.room_since_ns = now_ns;
    if let Some(room) = room_numbered(window.room) {
        room.window_ns = next_ns;
        room.chain = drawn_by;
        room.context = ThreadContext::NONE;
    }
}

/// Gives back rooms, bit by bit.
#[inline(never)]
pub(crate) fn give_back(rooms: u64) {
    for number in 0..COUNT as u64 {
        if rooms >> number & 1 != 0
            && let Some(room) = numbered(number)
        {
            // SAFETY: the pointer is to a map's value.
            let room = unsafe { &mut *room };
            room.told = room.kept;
            room.since_ns = 0;
        }
    }
}

/// Gives back the rooms of a process that is no more.
#[inline(never)]
pub(crate) fn process_ended(process: ProcessId) {
    for number in 0..COUNT as u64 {
        if let Some(room) = numbered(number) {
            // SAFETY: the pointer is to a map's value.
            let room = unsafe { &mut *room };
            if room.process == process && room.since_ns != 0 {
                room.told = room.kept;
                room.since_ns = 0;
            }
        }
    }
}

/// The span in a room with a number, if it is written.
#[inline(always)]
pub(crate) fn kept(room: *mut Room, number: u64) -> Option<&'static mut Kept> {
    const LAST: u64 = KEPT as u64 - 1;
    // SAFETY: the pointer is to a map's value, and the place within.
    let kept = unsafe { &mut (*room).spans[within::<LAST>(number)] };
    (kept.number == number + 1).then_some(kept)
}
