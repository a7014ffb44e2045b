//! Launches by function, and what functions are called.

use core::{ptr, slice};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{HashMap, PerCpuHashMap, RingBuf},
    helpers::generated::bpf_probe_read_user_str,
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
};

use crate::{contexts::address, memory::sums_of, now_ns, registers::user_word, windows};

/// Where a stream lies in `cudaLaunchConfig_t` and in `CUlaunchConfig`: behind two dimensions of 12
/// bytes and a size, in both. NVIDIA keeps the layout of public structures.
const STREAM_IN_CONFIG: u64 = 32;

#[btf_map]
static LAUNCHED: PerCpuHashMap<LaunchKey, u64, MAX_LAUNCHED, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// Marks, in `REGISTERED`, that the rest is another handle of the function, and not where its name
/// lies. No process has an address with this bit.
const SAME_AS: u64 = 1 << 63;

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

/// A name on its way into the ring. A thread's own, because another task may run this program on
/// this CPU before it is through.
#[btf_map]
static NAME: TaskStorage<NamedText> = TaskStorage::new();

/// A launch. Arguments: function; stream, or the structure that has it.
#[inline(always)]
pub(crate) fn entered(hook: Hook, thread: &Thread) {
    let [function, stream, _, _] = thread.arguments;
    let stream = if hook.kind() == LAUNCH_EX {
        user_word(stream + STREAM_IN_CONFIG).unwrap_or(0)
    } else {
        stream
    };
    windows::launched(thread.process, stream, now_ns());
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
pub(crate) fn graph(thread: &Thread) {
    windows::launched(thread.process, thread.arguments[1], thread.entered_ns);
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
#[inline(always)]
pub(crate) fn got(thread: &Thread) {
    if let Some(handle) = user_word(thread.arguments[0]) {
        send(thread.process, handle, 0, thread.arguments[1]);
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
    send(process, function, same_as, name);
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

/// Sends a function's name, or if that is unknown or cannot be read just now, whose name it has.
#[inline(never)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
fn send(process: ProcessId, function: u64, same_as: u64, name: u64) {
    let Some(text) = NAME.get_or_create(Task::current()) else {
        lost(DETAILS_FULL);
        return;
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
    let head = size_of::<Named>();
    let length = (head + usize::from(text.head.length)).min(size_of::<NamedText>());
    // SAFETY: the text is as long as it is cut to.
    let bytes = unsafe { slice::from_raw_parts(ptr::from_ref(text).cast::<u8>(), length) };
    if NAMES.output_untyped::<[u8]>(bytes, 0).is_err() {
        lost(DETAILS_FULL);
    }
}
