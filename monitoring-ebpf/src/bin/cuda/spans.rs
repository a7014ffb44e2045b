//! Windows that have ended: each becomes a span, with the wait for it and all that was kept of it, or
//! nothing of it does.

use monitoring_common::{
    cuda::{Hook, Thread, ended},
    trace::{
        ThreadContext,
        cuda::{
            CudaDetail, KEPT, ROOMS,
            flags::{DEVICE_WIDE, INCOMPLETE, POLLED, STREAM},
        },
        flags::FAILED,
        kind::{CUDA_CALL, CUDA_COPY, CUDA_WINDOW},
        parent,
    },
};
use monitoring_ebpf::trace::{self, Event};

use crate::{
    rooms,
    telling::{Telling, describe, kind_of, telling},
    windows,
};

/// Marks a window that was told of already: as one that failed.
pub(crate) const TOLD: u64 = 0;

/// Whether a window that ended has to be looked at: it may be a span, or have a room.
#[inline(always)]
pub(crate) fn is_of_interest(thread: &Thread, has_room: bool, begun_ns: u64, left_ns: u64) -> bool {
    let from_ns = waited_from(thread, begun_ns);
    trace::is_on() && (has_room || trace::is_long::<CUDA_WINDOW>(left_ns.wrapping_sub(from_ns)))
}

/// Since when a window was waited for. Of one that is asked for until it has ended nobody knows;
/// that was at most since it began.
#[inline(always)]
fn waited_from(thread: &Thread, begun_ns: u64) -> u64 {
    if Hook(thread.hook).waits() {
        thread.entered_ns
    } else {
        begun_ns
    }
}

/// A thread's call has ended a window.
#[inline(never)]
pub(crate) fn ended(thread: &Thread, left_ns: u64) {
    let (Some((window, turn, stream)), Some(telling)) = (windows::ended_by(thread), telling())
    else {
        return;
    };
    // Here already, where there is still room on the stack.
    trace::write_origin(&mut telling.origin, thread.agent);
    telling.detail = CudaDetail::NONE;
    telling.detail.flags = INCOMPLETE;
    telling.opener = ThreadContext::NONE;
    telling.long_ns = 0;
    telling.rooms = 0;
    telling.kept = 0;
    // SAFETY: the pointer is to a map's value.
    let window = unsafe { &mut *window };
    let drawn_by = thread.ended_chain;
    if thread.ended == ended::DEVICE {
        telling.detail.flags |= DEVICE_WIDE;
        if thread.ended_room != 0 {
            rooms_of_device(thread, telling);
        }
    } else {
        telling.detail.flags |= STREAM;
        telling.detail.stream = stream;
        room_of_stream(thread, telling);
    }
    tell(thread, telling, left_ns, drawn_by);
    if thread.ended == ended::DEVICE {
        rooms::give_back(telling.rooms);
        if window.first_ns == 0 {
            window.room = 0;
        }
    } else {
        rooms::go_on(thread, window, thread.next_ns, turn, left_ns);
    }
    if thread.code != 0 && window.first_ns == thread.begun_ns {
        window.chain = TOLD;
    }
}

/// Finds the room of a stream.
#[inline(never)]
fn room_of_stream(thread: &Thread, telling: &mut Telling) {
    if let Some(room) = rooms::room(thread.ended_room, thread.ended_room_since_ns) {
        rooms::divide(room, thread.next_ns);
        // SAFETY: the pointer is to a map's value.
        let room = unsafe { &mut *room };
        telling.rooms = 1 << ((thread.ended_room - 1) & (ROOMS as u64 - 1));
        telling.opener = room.context;
        telling.long_ns = room.long_ns;
        telling.kept = room.until - room.told;
        if thread.begun_ns >= thread.ended_room_since_ns {
            telling.detail.flags &= !INCOMPLETE;
        }
        count(
            &mut telling.detail,
            room.launches - room.later,
            room.left_out,
        );
    }
}

/// Finds the rooms of a device's streams.
#[inline(never)]
fn rooms_of_device(thread: &Thread, telling: &mut Telling) {
    telling.room = 0;
    telling.detail.flags &= !INCOMPLETE;
    for number in 0..ROOMS as u64 {
        let Some(room) = rooms::numbered(number) else {
            continue;
        };
        // SAFETY: the pointer is to a map's value.
        let room = unsafe { &mut *room };
        let is_open = room.since_ns != 0 && room.process == thread.process;
        if !is_open || room.device != u64::from(thread.device) {
            continue;
        }
        room.until = room.kept;
        telling.rooms |= 1 << number;
        telling.room += 1;
        telling.kept += room.until - room.told;
        telling.long_ns = telling.long_ns.max(room.long_ns);
        if room.context != ThreadContext::NONE {
            telling.opener = room.context;
        }
        if room.window_ns < room.since_ns {
            telling.detail.flags |= INCOMPLETE;
        }
        count(&mut telling.detail, room.launches, room.left_out);
    }
    if telling.room != thread.next_ns {
        telling.detail.flags |= INCOMPLETE;
    }
    // So many are told of, of all streams together.
    count(
        &mut telling.detail,
        0,
        telling.kept.saturating_sub(KEPT as u64),
    );
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "so many would take weeks")]
fn count(detail: &mut CudaDetail, launches: u64, left_out: u64) {
    detail.launches = detail.launches.wrapping_add(launches as u32);
    detail.left_out = detail.left_out.wrapping_add(left_out as u32);
}

/// Tells of a window, if it is chosen: first of itself, then of the wait, and of what was kept.
#[inline(never)]
fn tell(thread: &Thread, telling: &mut Telling, left_ns: u64, drawn_by: u64) {
    let begun_ns = thread.begun_ns;
    let hook = Hook(thread.hook);
    let from_ns = waited_from(thread, begun_ns);
    let failed = thread.code != 0;
    // Another call may have waited for the launches, as a copy of the default stream's does, and left
    // nothing to wait for.
    let since_ns = if telling.long_ns >= begun_ns {
        begun_ns
    } else {
        from_ns
    };
    let is_long = trace::is_long::<CUDA_WINDOW>(left_ns.wrapping_sub(since_ns));
    if drawn_by == TOLD || !(is_long || failed) {
        return;
    }
    if telling.origin.parent == parent::NONE && telling.opener != ThreadContext::NONE {
        telling.origin.parent = parent::SAMPLED;
        telling.origin.context = telling.opener;
    }
    telling.event = Event {
        start_ns: since_ns,
        end_ns: left_ns,
        window_start_ns: begun_ns,
        chain: drawn_by,
        code: thread.code.cast_signed(),
        flags: if failed { FAILED } else { 0 },
        is_failure: failed,
    };
    if !trace::chosen::<CUDA_WINDOW>(&telling.origin, &mut telling.event) {
        return;
    }
    telling.detail.process = thread.process;
    telling.detail.device = thread.device;
    telling.detail.call = hook.call();
    telling.detail.waited_from_ns = from_ns;
    if !hook.waits() {
        telling.detail.flags |= POLLED;
    }
    telling.event.start_ns = begun_ns;
    trace::tell::<CUDA_WINDOW, _>(&telling.origin, &telling.event, &telling.detail);
    if hook.waits() {
        describe(&mut telling.detail, thread);
        telling.event.start_ns = from_ns;
        if kind_of(hook) == CUDA_COPY {
            trace::tell_with::<CUDA_COPY, _>(&telling.origin, &telling.event, &telling.detail);
        } else {
            trace::tell_with::<CUDA_CALL, _>(&telling.origin, &telling.event, &telling.detail);
        }
    }
    telling.spans = telling.kept.min(KEPT as u64);
    telling.kept = trace::take_many(thread.agent.into(), left_ns, telling.spans);
    tell_kept(telling, begun_ns);
}

/// What was kept in the window's rooms, as much of it as the agent's second has room for.
#[inline(never)]
fn tell_kept(telling: &mut Telling, begun_ns: u64) {
    // Read and written where the verifier does not follow it, or it would look at each combination of
    // rooms.
    let [at, left, spans] = [
        &raw mut telling.room,
        &raw mut telling.kept,
        &raw mut telling.spans,
    ];
    // SAFETY: words of this function's own; the pointers are to a map's values.
    unsafe {
        at.write_volatile(0);
        for _ in 0..KEPT + ROOMS {
            let number = at.read_volatile();
            if number >= ROOMS as u64 {
                return;
            }
            let Some(room) = rooms::numbered(number) else {
                return;
            };
            let told = (&raw const (*room).told).read_volatile();
            let until = (&raw const (*room).until).read_volatile();
            if telling.rooms >> number & 1 == 0 || told >= until {
                at.write_volatile(number + 1);
                continue;
            }
            if spans.read_volatile() == 0 {
                return;
            }
            spans.write_volatile(spans.read_volatile() - 1);
            (&raw mut (*room).told).write_volatile(told + 1);
            if let Some(kept) = rooms::kept(room, told) {
                kept.record.header.window_start_ns = begun_ns;
                let left_now = left.read_volatile();
                let has_room = left_now != 0;
                left.write_volatile(left_now.saturating_sub(1));
                trace::tell_kept(&kept.record, has_room);
            }
        }
    }
}
