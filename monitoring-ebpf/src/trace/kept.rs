//! Spans that belong to one that was chosen: nobody asks again whether they are. They are counted, and
//! told of as far as there is room.

use core::{ptr, slice};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use monitoring_common::{
    agents::MAX_AGENTS,
    trace::{Header, KINDS, Origin, Record, TraceCounts, budget},
};

use super::{ATTEMPTS, Event, SPANS, TRACE_BUDGET, TRACE_CAP, counts, take, tell};
use crate::{
    atomic::{add, compare_exchange},
    bounds::within,
};

/// Tells of a span that belongs to one that was chosen.
#[inline(always)]
pub fn tell_with<const KIND: usize, D: Copy + 'static>(origin: &Origin, event: &Event, detail: &D) {
    let Some(counts) = counts() else { return };
    // SAFETY: one CPU's value of the map; `add` is one instruction.
    unsafe { add(&raw mut (*counts).generated[KIND], 1) };
    if take(origin.agent, event.end_ns) {
        tell::<KIND, D>(origin, event, detail);
    } else {
        // SAFETY: as above.
        unsafe { add(&raw mut (*counts).capped, 1) };
    }
}

/// Tells of such a span that was written down when it happened, if the agent's second has room for
/// it ([`take_many`]). Whoever reads the ring is not woken for it.
///
/// It is called in loops: without a branch, so that the verifier has one way to follow.
#[inline(always)]
pub fn tell_kept<D: Copy + 'static>(record: &Record<D>, has_room: bool) {
    /// What a kind may be, as far as its bits say.
    const PLACES: usize = 16;
    const LAST: u64 = PLACES as u64 - 1;
    const {
        assert!(size_of::<Record<D>>() == size_of::<Header>() + size_of::<D>());
        // What no kind has is still in the value.
        assert!(8 * PLACES <= size_of::<TraceCounts>() && KINDS <= PLACES);
    }
    let Some(counts) = counts() else { return };
    // SAFETY: one CPU's value of the map; `add` is one instruction. The place is within.
    unsafe {
        let generated = (&raw mut (*counts).generated).cast::<u64>();
        add(generated.add(within::<LAST>(record.header.kind.into())), 1);
        add(&raw mut (*counts).capped, u64::from(!has_room));
    }
    if !has_room {
        return;
    }
    // SAFETY: the record's own bytes, of which none is padding.
    let bytes = unsafe {
        slice::from_raw_parts(ptr::from_ref(record).cast::<u8>(), size_of::<Record<D>>())
    };
    let sent = SPANS.output_untyped::<[u8]>(bytes, BPF_RB_NO_WAKEUP.into());
    let failed = match sent {
        Ok(()) => 0,
        Err(_) => 1,
    };
    // SAFETY: as above.
    unsafe { add(&raw mut (*counts).ring_full, failed) };
}

/// How many of `count` spans the agent's second has room for. They are taken.
#[inline(never)]
pub fn take_many(agent: u32, now_ns: u64, count: u64) -> u64 {
    const AGENTS: u64 = MAX_AGENTS as u64 - 1;
    #[allow(clippy::cast_possible_truncation, reason = "below MAX_AGENTS")]
    let place = within::<AGENTS>(agent.into()) as u32;
    let Some(word) = TRACE_BUDGET.get_ptr_mut(place) else {
        return 0;
    };
    for _ in 0..ATTEMPTS {
        // SAFETY: one aligned word of the map, read as a whole.
        let old = unsafe { word.read_volatile() };
        let (new, taken) = budget::taken_many(old, now_ns, TRACE_CAP.load(), count);
        if compare_exchange(word, old, new) == old {
            return taken;
        }
    }
    0
}
