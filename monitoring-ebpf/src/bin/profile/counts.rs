//! Counts stacks, and sends those that are new in a window up the ring.

use core::ptr;

use aya_ebpf::{
    Global,
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    btf_maps::{Array, HashMap, RingBuf},
    helpers::{
        bpf_get_current_comm, bpf_probe_read_kernel_buf,
        generated::{bpf_ringbuf_output, bpf_ringbuf_query},
    },
    macros::btf_map,
};
use monitoring_common::profile::{Count, Key, StackHead, lost::SAMPLE};
use monitoring_ebpf::{ABSENT, atomic, lost::lost, task_storage::Task};

use crate::stack::{self, Stack, first_kernel_frame};

/// Offsets in `task_struct`.
#[unsafe(no_mangle)]
static LEADER_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static COMM_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static START_OFFSET: Global<u32> = Global::new(ABSENT);

/// So many bytes in the ring, and the agent is woken.
#[unsafe(no_mangle)]
static WAKE_BYTES: Global<u32> = Global::new(0);

/// Room as tests and the agent want it.
const MAX_COUNTS: usize = 16_384;
const RING_BYTES: usize = 1024 * 1024;

type Counts = HashMap<Key, Count, MAX_COUNTS>;

/// The number of the window. The agent writes it.
#[btf_map]
static WINDOW: Array<u32, 1> = Array::new();

/// What windows with even numbers have counted.
#[btf_map]
static COUNTS_A: Counts = Counts::new();

/// What windows with odd numbers have counted.
#[btf_map]
static COUNTS_B: Counts = Counts::new();

/// New stacks.
#[btf_map]
static STACKS: RingBuf<StackHead, RING_BYTES> = RingBuf::new();

/// Counts the running thread's stack, and sends it up if it is new in its window. Only its own thread,
/// or whoever has the lock of its run queue, counts under a key, so that a key's first sample is nobody
/// else's too.
#[inline(always)]
pub(crate) fn count(stack: &mut Stack, samples: u64, value: u64) {
    let counts = begin(stack);
    let key = stack.head.key;
    match add(counts, &key, samples, value) {
        Added::Sent => return,
        Added::Unsent => {}
        Added::NoRoom => {
            alone(stack, samples, value);
            return;
        }
    }
    if send(stack)
        && let Some(known) = counts.get_ptr_mut(key)
    {
        // SAFETY: a value of the map.
        unsafe { (*known).sent = 1 };
    }
}

/// Counts for a thread that is not running, so that its stack cannot be had. The agent knows it.
#[inline(always)]
pub(crate) fn count_for(key: &Key, samples: u64, value: u64) {
    let Some(stack) = stack::room() else { return };
    let counts = begin(stack);
    if let Added::NoRoom = add(counts, key, samples, value) {
        stack.head.key = *key;
        stack.head.user_frames = 0;
        stack.head.kernel_frames = 0;
        alone(stack, samples, value);
    }
}

/// Counts time of a thread that is not running, from where a stack's room may be in use.
#[inline(always)]
pub(crate) fn count_time(key: &Key, value: u64) {
    if let Added::NoRoom = add(of_window(window()), key, 0, value) {
        lost(SAMPLE);
    }
}

/// The counts of the window that a stack is in.
#[inline(always)]
fn begin(stack: &mut Stack) -> &'static Counts {
    let window = window();
    stack.head.window = window;
    stack.head.samples = 0;
    stack.head.value = 0;
    of_window(window)
}

#[inline(always)]
fn window() -> u32 {
    WINDOW.get(0).copied().unwrap_or(0)
}

#[inline(always)]
fn of_window(window: u32) -> &'static Counts {
    if window & 1 == 0 {
        &COUNTS_A
    } else {
        &COUNTS_B
    }
}

enum Added {
    /// And the stack is known in this window.
    Sent,
    Unsent,
    NoRoom,
}

#[inline(always)]
fn add(counts: &'static Counts, key: &Key, samples: u64, value: u64) -> Added {
    let Some(known) = counts.get_ptr_mut(key) else {
        let first = Count {
            samples,
            value,
            sent: 0,
        };
        let added = counts.insert(key, first, BPF_NOEXIST.into());
        return added.map_or(Added::NoRoom, |()| Added::Unsent);
    };
    // SAFETY: fields of a value of the map; others may read them at any time.
    unsafe {
        atomic::add(&raw mut (*known).samples, samples);
        atomic::add(&raw mut (*known).value, value);
        if (*known).sent == 0 {
            Added::Unsent
        } else {
            Added::Sent
        }
    }
}

/// Sends up what there is no room for among the counts.
#[inline(always)]
fn alone(stack: &mut Stack, samples: u64, value: u64) {
    stack.head.samples = samples;
    stack.head.value = value;
    if !send(stack) && samples > 0 {
        lost(SAMPLE);
    }
}

/// Sends the running thread's stack up; `false` when the ring is full.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
fn send(stack: &mut Stack) -> bool {
    let task = Task::current();
    let leader = task.follow(LEADER_OFFSET.load());
    let head = &mut stack.head;
    head.process_start_ns = leader.read(START_OFFSET.load());
    // It fails only for a task without a name, which there is not.
    head.comm = bpf_get_current_comm().unwrap_or_default();
    let name = leader.address() + u64::from(COMM_OFFSET.load());
    let name = ptr::with_exposed_provenance(name as usize);
    // SAFETY: the helper checks the address.
    if unsafe { bpf_probe_read_kernel_buf(name, &mut head.process_comm) }.is_err() {
        head.process_comm = [0; 16];
    }
    // SAFETY: a field of the head.
    let kernel = unsafe { (&raw const head.kernel_frames).read_volatile() };
    let frames = first_kernel_frame(stack) + (usize::from(kernel) & 127);
    let bytes = size_of::<StackHead>() + 8 * frames;
    let ring = ptr::from_ref(&STACKS).cast_mut().cast();
    // SAFETY: the verifier knows the ring, and that the stack has room for 255 and 127 frames.
    unsafe {
        let waiting = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into());
        let wake = if waiting >= WAKE_BYTES.load().into() {
            BPF_RB_FORCE_WAKEUP
        } else {
            BPF_RB_NO_WAKEUP
        };
        let record = ptr::from_mut(stack).cast();
        bpf_ringbuf_output(ring, record, bytes as u64, wake.into()) == 0
    }
}
