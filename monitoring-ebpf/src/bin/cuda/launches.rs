//! Launches by function, and what functions are called.

use core::{ptr, slice};

use aya_ebpf::{
    bindings::{
        BPF_F_NO_PREALLOC, BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP,
    },
    btf_maps::{HashMap, PerCpuHashMap, RingBuf},
    helpers::generated::{bpf_probe_read_user_str, bpf_ringbuf_query},
    macros::btf_map,
};
use monitoring_common::cuda::{
    Address, Hook, LaunchKey, MAX_LAUNCHED, MAX_REGISTERED, NAME_BYTES, Named, NamedText,
    ProcessId, RING_BYTES, Thread,
    kind::LAUNCH_EX,
    lost::{DETAILS_FULL, LAUNCHED_FULL},
};
use monitoring_ebpf::{
    atomic,
    lost::lost,
    task_storage::{Task, TaskStorage},
    trace,
};

use crate::{
    contexts::address,
    memory::sums_of,
    registers::{Registers, user_word},
    telling, windows,
};

/// Where a stream lies in `cudaLaunchConfig_t` and in `CUlaunchConfig`: behind two dimensions of 12
/// bytes and a size, in both. NVIDIA keeps the layout of public structures.
const STREAM_IN_CONFIG: u64 = 32;

#[btf_map]
static LAUNCHED: PerCpuHashMap<LaunchKey, u64, MAX_LAUNCHED, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// Marks, in `REGISTERED`, that the rest is another handle of the function, and not where its name
/// lies. No process has an address with this bit.
const SAME_AS: u64 = 1 << 63;

/// Marks handles in `REGISTERED` whose names were sent: under these is a hash of the name.
const SENT: u64 = 1 << 63;

/// Most handles of one function that are followed, one to the next: the host's function, the
/// runtime's kernel, the driver's kernel and its function.
const MAX_HANDLES: usize = 4;

/// Where the name of each function lies in its process, or of which function it is another handle.
#[btf_map]
static REGISTERED: HashMap<Address, u64, MAX_REGISTERED, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Names of functions that have been launched.
#[btf_map]
static NAMES: RingBuf<NamedText, RING_BYTES> = RingBuf::new();

/// With so much in the ring, whoever reads it is woken.
const WAKE_BYTES: u64 = RING_BYTES as u64 / 4;

/// A name on its way into the ring. A thread's own, because another task may run this program on
/// this CPU before it is through.
#[btf_map]
static NAME: TaskStorage<NamedText> = TaskStorage::new();

/// A launch. Arguments: function; stream, or the structure that has it.
#[inline(always)]
pub(crate) fn entered(hook: Hook, thread: &mut Thread, registers: Registers) {
    let function = registers.one(hook.argument(0));
    let stream = registers.one(hook.argument(1));
    let stream = if hook.kind() == LAUNCH_EX {
        user_word(stream + STREAM_IN_CONFIG).unwrap_or(0)
    } else {
        stream
    };
    windows::launched(thread, stream, 0);
    if trace::is_on() {
        thread.arguments[0] = function;
        thread.arguments[1] = stream;
        telling::launch_entered(hook, thread, registers);
    }
    let key = LaunchKey {
        function,
        process: thread.process,
        agent: thread.agent,
        device: thread.device,
        padding: 0,
    };
    let mut count = LAUNCHED.get_ptr_mut(key);
    if count.is_none() {
        // If another thread was first, that one sends the name.
        if LAUNCHED.insert(key, 0, BPF_NOEXIST.into()).is_ok() {
            send_known(thread.process, function);
        }
        count = LAUNCHED.get_ptr_mut(key);
    }
    match count {
        Some(count) => atomic::add(count, 1),
        None => lost(LAUNCHED_FULL),
    }
}

/// A graph that was launched.
#[inline(always)]
pub(crate) fn graph(thread: &mut Thread) {
    windows::launched(thread, thread.arguments[1], thread.entered_ns);
    if let Some(sums) = sums_of(thread) {
        // SAFETY: the pointer is to a map's value; only an address is taken.
        atomic::add(unsafe { &raw mut (*sums).graphs }, 1);
    }
}

/// A function that tells its name, which is part of the program and stays where it is.
#[inline(always)]
pub(crate) fn register(thread: &Thread, function: u64, name: u64) {
    if REGISTERED
        .insert(address(thread, function), name, 0)
        .is_err()
    {
        lost(DETAILS_FULL);
    }
}

/// A handle that was given for a name, which may lie in memory that is freed at once. Arguments:
/// where the handle was put, the name.
///
/// Programs may ask for it at each launch: only what is new is sent.
#[inline(always)]
pub(crate) fn got(thread: &Thread) {
    let Some(handle) = user_word(thread.arguments[0]) else {
        return;
    };
    let Some(text) = read(thread.process, handle, 0, thread.arguments[1]) else {
        return;
    };
    let hash = hash(text);
    let sent = address(thread, handle | SENT);
    // SAFETY: what a program has found stays readable while it runs.
    if REGISTERED.get_ptr(sent).map(|known| unsafe { *known }) == Some(hash) {
        return;
    }
    // It may have been another handle of something else.
    let _ = REGISTERED.remove(address(thread, handle));
    if send(text) {
        // Where there is no room, it is sent again.
        let _ = REGISTERED.insert(sent, hash, 0);
    }
}

/// A handle that was given for another one. Arguments: where it was put, the other one.
///
/// Programs may ask for it at each launch: only what is new is sent.
#[inline(always)]
pub(crate) fn aliased(thread: &Thread) {
    let [place, other, _, _] = thread.arguments;
    let Some(handle) = user_word(place) else {
        return;
    };
    let same_as = other | SAME_AS;
    if handle == other || registered(thread.process, handle) == Some(same_as) {
        return;
    }
    if REGISTERED
        .insert(address(thread, handle), same_as, 0)
        .is_err()
    {
        lost(DETAILS_FULL);
        return;
    }
    // It may have had a name of its own.
    let _ = REGISTERED.remove(address(thread, handle | SENT));
    // It may have been launched before, when nobody knew what it is.
    send_known(thread.process, handle);
}

/// Sends what is known of a function. Where that is nothing, the agent finds out itself what the
/// function is.
#[inline(never)]
fn send_known(process: ProcessId, function: u64) {
    let mut other = function;
    let mut name = 0;
    for _ in 0..MAX_HANDLES {
        match registered(process, other) {
            Some(known) if known & SAME_AS != 0 => other = known & !SAME_AS,
            known => {
                name = known.unwrap_or(0);
                break;
            }
        }
    }
    let same_as = if other == function { 0 } else { other };
    if let Some(text) = read(process, function, same_as, name) {
        send(text);
    }
}

/// What a function has said of itself.
#[inline(always)]
fn registered(process: ProcessId, function: u64) -> Option<u64> {
    let known = REGISTERED.get_ptr(Address {
        value: function,
        process,
    });
    // SAFETY: what a program has found stays readable while it runs.
    known.map(|known| unsafe { *known })
}

/// A function with its name, or if that is unknown or cannot be read just now, whose name it has.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
fn read(
    process: ProcessId,
    function: u64,
    same_as: u64,
    name: u64,
) -> Option<&'static mut NamedText> {
    let Some(text) = NAME.get_or_create(Task::current()) else {
        lost(DETAILS_FULL);
        return None;
    };
    text.head.function = function;
    text.head.same_as = same_as;
    text.head.process = process;
    text.head.length = 0;
    text.head.padding = [0; 3];
    if name != 0 {
        // SAFETY: the helper checks the address, and writes no more than it is told.
        let read = unsafe {
            bpf_probe_read_user_str(
                text.name.as_mut_ptr().cast(),
                NAME_BYTES as u32,
                ptr::with_exposed_provenance(name as usize),
            )
        };
        text.head.length = u16::try_from(read).unwrap_or(0);
    }
    Some(text)
}

/// Tells names apart.
#[inline(always)]
fn hash(text: &NamedText) -> u64 {
    let length = usize::from(text.head.length);
    let mut hash = length as u64;
    for place in (0..NAME_BYTES).step_by(8) {
        if place >= length {
            break;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&text.name[place..place + 8]);
        let mut word = u64::from_ne_bytes(bytes);
        if length - place < 8 {
            // Behind the name is what was there before.
            word &= (1 << ((length - place) * 8)) - 1;
        }
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash
}

/// Sends what was read. Whether there was room.
#[inline(always)]
fn send(text: &NamedText) -> bool {
    let head = size_of::<Named>();
    let length = (head + usize::from(text.head.length)).min(size_of::<NamedText>());
    // SAFETY: the text is as long as it is cut to.
    let bytes = unsafe { slice::from_raw_parts(ptr::from_ref(text).cast::<u8>(), length) };
    let sent = NAMES.output_untyped::<[u8]>(bytes, wakeup()).is_ok();
    if !sent {
        lost(DETAILS_FULL);
    }
    sent
}

/// Whether whoever reads the ring is to be woken. It looks by itself often enough, and when it needs a
/// name; being woken for each would cost it and who calls more than the name.
#[inline(always)]
fn wakeup() -> u64 {
    let ring = ptr::from_ref(&NAMES).cast_mut().cast();
    // SAFETY: the helper takes the map, which the loader puts in here, and changes nothing.
    let waiting = unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into()) };
    if waiting >= WAKE_BYTES {
        BPF_RB_FORCE_WAKEUP.into()
    } else {
        BPF_RB_NO_WAKEUP.into()
    }
}
