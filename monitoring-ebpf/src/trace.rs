//! Spans: which events are told of one by one, and how. The same for all families.
//!
//! A family asks [`is_long`] or [`is_failure`] where an event ends, on its hot path. What these ask are
//! constants to the verifier: where nothing is traced, they and what follows them are not in the
//! loaded program. An event for which one of them is true goes to a function of the family's that is
//! called seldom. That one says whose the event is ([`origin`]), asks whether it is [`chosen`], which
//! counts it, and [`tell`]s of it:
//!
//! ```ignore
//! let origin = trace::origin(agent, call_start_ns);
//! if trace::chosen::<SYSTEM_CALL>(&origin, &mut event) {
//!     trace::tell(&origin, &event, &detail);
//! }
//! ```
//!
//! Where an event ends in another task or in an interrupt, its origin is kept from where it began.

mod context;
mod kept;

use aya_ebpf::{
    Global,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::generated::bpf_ringbuf_query,
    macros::btf_map,
};
pub use context::{
    RUNNING, forget, inherit, is_current, origin, origin_of, publishes, running_call,
    running_call_of, write_origin,
};
pub use kept::{take_many, tell_kept, tell_with};
use monitoring_common::{
    agents::{MAX_AGENTS, OTHER},
    trace::{
        Header, KINDS, Origin, Record, SPANS_BYTES, SPANS_WAKE_BYTES, TraceCounts, budget, flags,
        lot, parent,
        switch::{ON, WATCHED_ONLY},
    },
};

use crate::{
    atomic::{add, compare_exchange},
    bounds::within,
};

/// Bits of [`switch`](monitoring_common::trace::switch); 0 where nothing is traced.
#[unsafe(no_mangle)]
static TRACE: Global<u32> = Global::new(0);

/// The share of chains that is chosen, in parts of 2³²; the largest number is all of them.
#[unsafe(no_mangle)]
static TRACE_RATE: Global<u32> = Global::new(0);

/// Spans a second of an agent, at most.
#[unsafe(no_mangle)]
static TRACE_CAP: Global<u32> = Global::new(0);

/// By kind, the duration from which on an event can be a span at all: the smaller one of its kind's
/// threshold and the one for events within a span of the application. The largest number where the
/// kind is off.
#[unsafe(no_mangle)]
static TRACE_LEAST_NS: Global<[u64; KINDS]> = Global::new([u64::MAX; KINDS]);

/// By kind, the duration from which on an event is a candidate by itself.
#[unsafe(no_mangle)]
static TRACE_SLOW_NS: Global<[u64; KINDS]> = Global::new([u64::MAX; KINDS]);

/// Error numbers that make candidates, and are always chosen: a bit for each.
#[unsafe(no_mangle)]
static TRACE_ERRNOS: Global<[u32; ERRNO_WORDS]> = Global::new([0; ERRNO_WORDS]);

/// Error numbers end at 133; there is room for those below 256.
const ERRNOS: u32 = 256;
const ERRNO_WORDS: usize = ERRNOS as usize / 32;

/// Attempts to change an agent's budget while others do. Each that fails means that another one
/// succeeded.
const ATTEMPTS: usize = 8;

#[btf_map]
static SPANS: RingBuf<Header, SPANS_BYTES> = RingBuf::new();

#[btf_map]
static TRACE_COUNTS: PerCpuArray<TraceCounts, 1> = PerCpuArray::new();

#[btf_map]
static TRACE_BUDGET: Array<u64, MAX_AGENTS> = Array::new();

/// An event that came to its end.
#[derive(Clone, Copy)]
pub struct Event {
    /// Beginning and end, by `bpf_ktime_get_ns`.
    pub start_ns: u64,
    /// As above.
    pub end_ns: u64,
    /// Start of the CUDA window that it belongs to, or 0.
    pub window_start_ns: u64,
    /// What it is chosen with, or not: see [`monitoring_common::trace::chain`].
    pub chain: u64,
    /// How it failed; see [`Header::code`].
    pub code: i32,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Whether its failure makes it a candidate, and chosen: [`is_failure`].
    pub is_failure: bool,
}

/// Whether anything is traced.
#[inline(always)]
#[must_use]
pub fn is_on() -> bool {
    TRACE.load() & ON != 0
}

/// Whether an event of a kind may be a span by its duration. One comparison.
#[inline(always)]
#[must_use]
pub fn is_long<const KIND: usize>(duration_ns: u64) -> bool {
    is_on() && duration_ns >= least_ns::<KIND>()
}

/// Whether an event of a kind is a candidate by its duration, whoever it is of.
#[inline(always)]
#[must_use]
pub fn is_slow<const KIND: usize>(duration_ns: u64) -> bool {
    is_on() && duration_ns >= of_kind::<KIND>(&TRACE_SLOW_NS)
}

/// Whether events of a kind become spans at all.
#[inline(always)]
#[must_use]
pub fn is_kind_on<const KIND: usize>() -> bool {
    is_on() && least_ns::<KIND>() != u64::MAX
}

/// Whether it has to be found out whose an event is, which takes long: not if it is no candidate by
/// itself, and its process publishes no spans within which it could be one.
#[inline(always)]
#[must_use]
pub fn may_be_chosen<const KIND: usize>(agent: u32, pid: u32, event: &Event) -> bool {
    let duration_ns = event.end_ns.saturating_sub(event.start_ns);
    is_traced(agent) && (event.is_failure || is_slow::<KIND>(duration_ns) || publishes(pid))
}

/// Whether an event of a kind that failed with a (positive) error number is a candidate for that.
#[inline(always)]
#[must_use]
pub fn is_failure<const KIND: usize>(errno: u32) -> bool {
    if !is_kind_on::<KIND>() || errno >= ERRNOS {
        return false;
    }
    has_bit::<{ ERRNO_WORDS as u64 - 1 }, ERRNO_WORDS>(&TRACE_ERRNOS, errno)
}

/// Whether a bit of a global is set. `MASK` is one less than its words, a power of two.
#[inline(always)]
#[must_use]
pub fn has_bit<const MASK: u64, const WORDS: usize>(
    bits: &'static Global<[u32; WORDS]>,
    bit: u32,
) -> bool {
    let word = within::<MASK>(u64::from(bit >> 5));
    // SAFETY: a global is its value, and the place is within it. Read as a global is: the loader has
    // written it where the compiler does not see it.
    let word = unsafe { (&raw const *bits).cast::<u32>().add(word).read_volatile() };
    word >> (bit & 31) & 1 != 0
}

/// Whether processes of an agent are traced.
#[inline(always)]
#[must_use]
pub fn is_traced(agent: u32) -> bool {
    agent != u32::from(OTHER) || TRACE.load() & WATCHED_ONLY == 0
}

/// Whether an event becomes a span. One that is a candidate is counted; one that is chosen has to be
/// told of. Marks in the event why.
#[inline(never)]
pub fn chosen<const KIND: usize>(origin: &Origin, event: &mut Event) -> bool {
    if !is_traced(origin.agent) {
        return false;
    }
    let duration_ns = event.end_ns.saturating_sub(event.start_ns);
    let is_slow = duration_ns >= of_kind::<KIND>(&TRACE_SLOW_NS);
    let Some(counts) = counts() else { return false };
    // SAFETY: one CPU's value of the map. Programs may interrupt each other: `add` is one instruction.
    let (generated, sampled_out, capped) = unsafe {
        (
            &raw mut (*counts).generated[KIND],
            &raw mut (*counts).sampled_out[KIND],
            &raw mut (*counts).capped,
        )
    };
    if origin.parent == parent::SAMPLED {
        add(generated, 1);
        event.flags |= flags::JOINED;
    } else {
        if !is_slow && !event.is_failure {
            return false;
        }
        add(generated, 1);
        if origin.parent == parent::NOT_SAMPLED {
            add(sampled_out, 1);
            return false;
        }
        let is_of_trace = origin.parent == parent::NOT_DRAWN;
        if is_of_trace {
            event.flags |= flags::JOINED;
        }
        if !is_slow || is_of_trace || !is_drawn(event.chain) {
            if !event.is_failure {
                add(sampled_out, 1);
                return false;
            }
            event.flags |= flags::FOR_FAILURE;
        }
    }
    if take(origin.agent, event.end_ns) {
        return true;
    }
    add(capped, 1);
    false
}

/// Tells of a span that was chosen. Counts it if the ring is full.
#[inline(always)]
pub fn tell<const KIND: usize, D: Copy + 'static>(origin: &Origin, event: &Event, detail: &D) {
    const {
        // No byte of the ring goes up that was not written.
        assert!(size_of::<Record<D>>() == size_of::<Header>() + size_of::<D>());
    }
    let Some(mut entry) = SPANS.reserve_untyped::<Record<D>>(0) else {
        if let Some(counts) = counts() {
            // SAFETY: as in `chosen`.
            add(unsafe { &raw mut (*counts).ring_full }, 1);
        }
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the ring's room for one record, which is written in full.
    unsafe {
        write_header::<KIND>(&raw mut (*record).header, origin, event);
        (&raw mut (*record).detail).write(*detail);
    }
    entry.submit(wakeup());
}

/// Field by field: a header that is put together elsewhere would need its room on the stack.
///
/// # Safety
///
/// `header` is valid for writes.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "agents and kinds are few")]
unsafe fn write_header<const KIND: usize>(header: *mut Header, origin: &Origin, event: &Event) {
    // SAFETY: as above.
    unsafe {
        (*header).start_ns = event.start_ns;
        (*header).end_ns = event.end_ns;
        (*header).call_start_ns = origin.call_start_ns;
        (*header).window_start_ns = event.window_start_ns;
        (*header).process_start_ns = origin.process_start_ns;
        (*header).pid = origin.pid;
        (*header).tid = origin.tid;
        (*header).agent = origin.agent as u16;
        (*header).kind = KIND as u8;
        (*header).flags = event.flags;
        (*header).code = event.code;
        (*header).context = origin.context;
        (*header).comm = origin.comm;
    }
}

/// Whether a chain is in the sample.
#[inline(always)]
#[must_use]
pub fn is_drawn(chain: u64) -> bool {
    let rate = TRACE_RATE.load();
    rate == u32::MAX || lot(chain) < rate
}

/// Takes one of the agent's spans of this second, if it has any left.
#[inline(always)]
fn take(agent: u32, now_ns: u64) -> bool {
    const AGENTS: u64 = MAX_AGENTS as u64 - 1;
    #[allow(clippy::cast_possible_truncation, reason = "below MAX_AGENTS")]
    let place = within::<AGENTS>(agent.into()) as u32;
    let Some(word) = TRACE_BUDGET.get_ptr_mut(place) else {
        return false;
    };
    for _ in 0..ATTEMPTS {
        // SAFETY: one aligned word of the map, read as a whole.
        let old = unsafe { word.read_volatile() };
        let Some(new) = budget::taken(old, now_ns, TRACE_CAP.load()) else {
            return false;
        };
        if compare_exchange(word, old, new) == old {
            return true;
        }
    }
    false
}

/// This CPU's counts.
#[inline(always)]
fn counts() -> Option<*mut TraceCounts> {
    TRACE_COUNTS.get_ptr_mut(0)
}

#[inline(always)]
fn least_ns<const KIND: usize>() -> u64 {
    of_kind::<KIND>(&TRACE_LEAST_NS)
}

/// A kind's number of a global, and no other's: a global is otherwise read as a whole.
#[inline(always)]
fn of_kind<const KIND: usize>(numbers: &'static Global<[u64; KINDS]>) -> u64 {
    const { assert!(KIND < KINDS) }
    // SAFETY: as in `has_bit`.
    unsafe {
        (&raw const *numbers)
            .cast::<u64>()
            .add(KIND)
            .read_volatile()
    }
}

/// Whether whoever reads the ring is to be woken: it looks by itself several times a second, and when
/// much is waiting it had better look now.
#[inline(always)]
fn wakeup() -> u64 {
    let ring = (&raw const SPANS).cast_mut().cast();
    // SAFETY: the helper takes the map, which the loader puts in here, and changes nothing.
    let waiting = unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into()) };
    if waiting >= SPANS_WAKE_BYTES as u64 {
        BPF_RB_FORCE_WAKEUP.into()
    } else {
        BPF_RB_NO_WAKEUP.into()
    }
}
