//! Calls that are told of one by one: what a call's span says, and single calls that become spans
//! because they lasted long or failed. Those that become spans with their window are in
//! [`rooms`](crate::rooms).
//!
//! Of a launch, only the stream and the function are known where it returns; the rest of its
//! arguments is put aside when it is entered.

use aya_ebpf::macros::btf_map;
use monitoring_common::{
    cuda::{
        Hook, NO_ARGUMENT, Thread,
        kind::{
            ALLOC, COPY, COPY_BATCH, COPY_STRUCTURE, FREE, GRAPH_LAUNCH, LAUNCH, LAUNCH_EX, PLAIN,
            SET, SYNC,
        },
    },
    trace::{
        Origin, ThreadContext, chain,
        cuda::{
            CudaDetail, NOT_READY,
            flags::{BYTES, DEPTH, DIRECTION, GRAPH, SHAPE, SHARED, STREAM, UNTIMED},
        },
        flags::FAILED,
        kind::{CUDA_CALL, CUDA_COPY, CUDA_LAUNCH, CUDA_MEMORY},
    },
};
use monitoring_ebpf::{
    task_storage::{Task, TaskStorage},
    trace::{self, Event},
};

use crate::{
    now_ns,
    registers::{Registers, user_halves},
    rooms,
};

/// What nobody has found out.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// Positions of the stream in launches of the runtime, which takes a dimension as one argument of
/// two words, and of the driver, which takes three numbers.
const STREAM_OF_RUNTIME: u8 = 7;
const STREAM_OF_DRIVER: u8 = 8;

/// What is put together for a span: too large for the stack.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Telling {
    pub(crate) origin: Origin,
    pub(crate) event: Event,
    pub(crate) detail: CudaDetail,
    /// The span in which the application opened the window.
    pub(crate) opener: ThreadContext,
    /// When the last call began that lasted long by itself, of those that were kept.
    pub(crate) long_ns: u64,
    /// Rooms that are to be told of, bit by bit.
    pub(crate) rooms: u64,
    /// How many they are, and then how far that is.
    pub(crate) room: u64,
    /// What is in them; then how much of it the agent's second has room for.
    pub(crate) kept: u64,
    /// How much of it is to be told of.
    pub(crate) spans: u64,
}

/// A thread's own, because another task may run this program on this CPU before it is through.
#[btf_map]
static TELLING: TaskStorage<Telling> = TaskStorage::new();

#[inline(always)]
pub(crate) fn telling() -> Option<&'static mut Telling> {
    TELLING.get_or_create(Task::current())
}

/// A launch was entered, whose window is known by now.
#[inline(always)]
pub(crate) fn launch_entered(hook: Hook, thread: &mut Thread, registers: Registers) {
    if hook.kind() == LAUNCH_EX {
        thread.arguments[2] = registers.one(hook.argument(1));
        return;
    }
    let [first, second, third, fourth, fifth, sixth, seventh] = &mut thread.shape;
    *first = registers.one(1);
    *second = registers.one(2);
    *third = registers.one(3);
    *fourth = registers.one(4);
    *fifth = registers.one(5);
    if thread.room != 0 {
        *sixth = registers.one(6);
        *seventh = registers.one(7);
    }
}

/// Whether a call that has returned may be told of.
#[inline(always)]
pub(crate) fn is_of_interest(hook: Hook, thread: &Thread, duration_ns: u64) -> bool {
    // A plain call is of interest by itself only.
    let may_be_kept = thread.room != 0 && hook.kind() != PLAIN;
    trace::is_on() && (may_be_kept || thread.code != 0 || trace::is_long::<CUDA_CALL>(duration_ns))
}

/// A call was counted when it was entered, of a thread that has a room.
#[inline(never)]
pub(crate) fn untimed(thread: &mut Thread, hook: Hook) {
    let outer = thread.hook;
    thread.hook = hook.0;
    thread.code = 0;
    thread.entered_ns = now_ns();
    if is_kept(hook) {
        rooms::keep(thread, thread.entered_ns, UNTIMED);
    }
    thread.hook = outer;
}

/// Whether a call is kept with its window.
#[inline(always)]
fn is_kept(hook: Hook) -> bool {
    kind_of(hook) != CUDA_CALL || hook.kind() == SET
}

/// A call has returned that is part of a window whose spans are kept, that lasted long or has failed.
#[inline(never)]
pub(crate) fn tell(thread: &mut Thread, duration_ns: u64) {
    let hook = Hook(thread.hook);
    let failed = thread.code != 0;
    if thread.code == NOT_READY {
        return;
    }
    let end_ns = thread.entered_ns + duration_ns;
    if !failed && is_kept(hook) && rooms::keep(thread, end_ns, 0) {
        return;
    }
    if failed && hook.kind() == COPY {
        let [bytes, rows, _, _] = thread.arguments;
        let rows = if hook.argument(1) == NO_ARGUMENT {
            1
        } else {
            rows
        };
        thread.bytes = bytes.wrapping_mul(rows);
    }
    // As if it had lasted for ever: then it is of interest if its kind is.
    let duration_ns = if failed { u64::MAX - 1 } else { duration_ns };
    match kind_of(hook) {
        CUDA_LAUNCH if trace::is_long::<CUDA_LAUNCH>(duration_ns) => {
            single::<CUDA_LAUNCH>(thread, end_ns);
        }
        CUDA_COPY if trace::is_long::<CUDA_COPY>(duration_ns) => {
            single::<CUDA_COPY>(thread, end_ns);
        }
        CUDA_MEMORY if trace::is_long::<CUDA_MEMORY>(duration_ns) => {
            single::<CUDA_MEMORY>(thread, end_ns);
        }
        CUDA_CALL if trace::is_long::<CUDA_CALL>(duration_ns) => {
            single::<CUDA_CALL>(thread, end_ns);
        }
        _ => {}
    }
}

/// The kind of span that a call becomes.
#[inline(always)]
pub(crate) fn kind_of(hook: Hook) -> usize {
    match hook.kind() {
        LAUNCH | LAUNCH_EX | GRAPH_LAUNCH => CUDA_LAUNCH,
        COPY | COPY_STRUCTURE | COPY_BATCH => CUDA_COPY,
        ALLOC | FREE => CUDA_MEMORY,
        _ => CUDA_CALL,
    }
}

/// A call by itself.
#[inline(never)]
fn single<const KIND: usize>(thread: &mut Thread, end_ns: u64) {
    let Some(telling) = telling() else {
        return;
    };
    trace::write_origin(&mut telling.origin, thread.agent);
    telling.event = Event {
        start_ns: thread.entered_ns,
        end_ns,
        window_start_ns: 0,
        chain: chain(telling.origin.tid, thread.entered_ns),
        code: thread.code.cast_signed(),
        flags: if thread.code == 0 { 0 } else { FAILED },
        is_failure: thread.code != 0,
    };
    rooms::lend(thread, telling);
    if trace::chosen::<KIND>(&telling.origin, &mut telling.event) {
        describe(&mut telling.detail, thread);
        trace::tell::<KIND, _>(&telling.origin, &telling.event, &telling.detail);
    }
}

/// What a call's span says.
#[inline(never)]
pub(crate) fn describe(detail: &mut CudaDetail, thread: &Thread) {
    let hook = Hook(thread.hook);
    *detail = CudaDetail::NONE;
    detail.process = thread.process;
    detail.call = hook.call();
    detail.device = thread.device;
    match hook.kind() {
        LAUNCH | LAUNCH_EX => {
            detail.object = thread.arguments[0];
            detail.stream = thread.arguments[1];
            detail.flags = STREAM;
            shape(detail, hook, thread);
        }
        GRAPH_LAUNCH => {
            detail.object = thread.arguments[0];
            detail.stream = thread.arguments[1];
            detail.flags = STREAM | GRAPH;
        }
        // Where it was allocated, or what is freed.
        ALLOC if thread.code == 0 => detail.object = thread.shape[0],
        FREE => detail.object = thread.arguments[0],
        SYNC if hook.argument(0) != NO_ARGUMENT => {
            detail.stream = thread.arguments[0];
            detail.flags = STREAM;
        }
        _ => {}
    }
    let sized = kind_of(hook) == CUDA_COPY || matches!(hook.kind(), ALLOC | FREE | SET);
    if sized && thread.bytes != UNKNOWN {
        detail.bytes = thread.bytes;
        detail.flags |= BYTES;
    }
    if kind_of(hook) == CUDA_COPY && thread.code == 0 && thread.bytes != UNKNOWN {
        detail.direction = thread.direction;
        detail.flags |= DIRECTION;
    }
}

/// A launch's grid and block.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "halves are meant")]
fn shape(detail: &mut CudaDetail, hook: Hook, thread: &Thread) {
    let low = |word: u64| word as u32;
    let high = |word: u64| (word >> 32) as u32;
    let [first, second, third, fourth, fifth, sixth, seventh] = thread.shape;
    // Of a launch that is not kept, these were not read.
    let read_on = thread.room != 0;
    if hook.kind() == LAUNCH_EX {
        // Six numbers, and the shared memory, of which the driver's has four bytes and the runtime's
        // eight.
        if let Some(config) = user_halves(thread.arguments[2]) {
            let [x, y, z, block_x, block_y, block_z, shared, _] = config;
            detail.grid = [x, y, z];
            detail.block = [block_x, block_y, block_z];
            detail.shared_bytes = shared;
            detail.flags |= SHAPE | DEPTH | SHARED;
        }
    } else if hook.argument(1) == STREAM_OF_RUNTIME {
        detail.grid = [low(first), high(first), low(second)];
        detail.block = [low(third), high(third), low(fourth)];
        detail.flags |= SHAPE | DEPTH;
        if read_on {
            detail.shared_bytes = low(sixth);
            detail.flags |= SHARED;
        }
    } else if hook.argument(1) == STREAM_OF_DRIVER {
        detail.grid = [low(first), low(second), low(third)];
        detail.block = [low(fourth), low(fifth), 0];
        detail.flags |= SHAPE;
        if read_on {
            detail.block[2] = low(sixth);
            detail.shared_bytes = low(seventh);
            detail.flags |= DEPTH | SHARED;
        }
    }
}
