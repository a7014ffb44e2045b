//! Takes the stack of the running thread: the program's frames and the kernel's, and a key for them.

use core::ptr;

use aya_ebpf::{
    btf_maps::PerCpuArray,
    cty::c_void,
    helpers::generated::{bpf_get_stack, bpf_ktime_get_ns, bpf_probe_read_user},
    macros::btf_map,
};
use monitoring_common::profile::{
    FRAME_SLOTS, Key, MAX_KERNEL_FRAMES, MAX_USER_FRAMES, StackHead,
    mode::USER,
    status::{COMPLETE, ERROR, NO_UNWIND_INFO, TRUNCATED},
};
use monitoring_ebpf::{agents::agent_of, atomic};

use crate::{SPACE_OFFSET, Who, registers::Registers};

/// A stack as it goes up the ring, but for the slots behind the last frame.
#[repr(C)]
pub(crate) struct Stack {
    pub(crate) head: StackHead,
    pub(crate) frames: [u64; FRAME_SLOTS],
}

/// Room for the stack that is being taken.
#[btf_map]
static STACK: PerCpuArray<Stack, 1> = PerCpuArray::new();

/// Stacks that were taken, whatever became of them.
#[btf_map]
static TAKEN: PerCpuArray<u64, 1> = PerCpuArray::new();

/// No code lies below: the first page is never mapped.
const LOWEST_ADDRESS: u64 = 4096;

/// Addresses of programs have at most so many bits.
const ADDRESS_BITS: u32 = 56;

/// That of no frames.
const NO_HASH: u64 = 0;

/// Takes the stack of the running thread. The room is this CPU's, and whoever takes the next stack
/// uses it again.
#[inline(always)]
pub(crate) fn take(ctx: *mut c_void, who: &Who, mode: u8) -> Option<&'static mut Stack> {
    if let Some(taken) = TAKEN.get_ptr_mut(0) {
        atomic::add(taken, 1);
    }
    let stack = room()?;
    let space = space(who, stack);
    let (user, status) = walk_program(who, space, stack);
    let kernel = if mode == USER {
        stack.head.kernel_frames = 0;
        NO_HASH
    } else {
        walk_kernel(ctx, space, stack)
    };
    // SAFETY: the helper has no preconditions.
    stack.head.time_ns = unsafe { bpf_ktime_get_ns() };
    stack.head.key = Key {
        space,
        user,
        kernel,
        process: who.process,
        thread: who.thread,
        agent: agent_of(who.process),
        reason: 0,
        mode,
        status,
        padding: 0,
    };
    Some(stack)
}

/// This CPU's room for a stack.
#[inline(always)]
pub(crate) fn room() -> Option<&'static mut Stack> {
    // SAFETY: nobody else has it, as the head of this crate says.
    unsafe { STACK.get_ptr_mut(0)?.as_mut() }
}

/// The address space as a number: by way of memory, as the verifier allows no arithmetic with what it
/// knows as a pointer.
#[inline(always)]
fn space(who: &Who, stack: &mut Stack) -> u64 {
    stack.head.key.space = who.task.read(SPACE_OFFSET.load());
    // SAFETY: a field of the head.
    unsafe { (&raw const stack.head.key.space).read_volatile() }
}

/// The program's frames; their hash, and how the walk ended.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "a small number")]
fn walk_program(who: &Who, space: u64, stack: &mut Stack) -> (u64, u8) {
    stack.head.user_frames = 0;
    // A thread of the kernel.
    if space == 0 {
        return (NO_HASH, COMPLETE);
    }
    let Some(registers) = Registers::of(who.task) else {
        return (NO_HASH, ERROR);
    };
    let walked = unwind(&registers, space, &mut stack.frames);
    stack.head.user_frames = walked.frames as u16;
    (walked.hash, walked.status)
}

/// What a walk has found.
struct Walked {
    frames: usize,
    hash: u64,
    status: u8,
}

/// Walks over a program's stack: the one place that knows how. By frame pointers: each leads to
/// that of the caller, with the return address beside it, on x86-64 and arm64 alike.
#[inline(always)]
fn unwind(registers: &Registers, space: u64, slots: &mut [u64; FRAME_SLOTS]) -> Walked {
    slots[0] = registers.instruction;
    let mut hash = mix(space, registers.instruction);
    let mut at = registers.frame;
    // Frames lie above the stack pointer, and each above the one that it called.
    let mut above = registers.stack;
    let mut status = TRUNCATED;
    let mut frames = 1;
    if !registers.wide {
        return Walked {
            frames,
            hash: told_from_none(hash),
            status: NO_UNWIND_INFO,
        };
    }
    #[allow(clippy::needless_range_loop, reason = "the verifier follows a number")]
    for number in 1..=MAX_USER_FRAMES {
        // Whoever starts a thread gives it a frame pointer of 0. A leaf that has none may as well
        // use the register for something else.
        if at == 0 && number > 1 {
            status = COMPLETE;
            break;
        }
        if number == MAX_USER_FRAMES {
            break;
        }
        let mut frame = [0_u64; 2];
        if at < above || at & 7 != 0 || !read(&mut frame, at) {
            status = NO_UNWIND_INFO;
            break;
        }
        let [callers, returns_to] = frame;
        if returns_to < LOWEST_ADDRESS || returns_to >> ADDRESS_BITS != 0 {
            status = if returns_to == 0 && callers == 0 {
                COMPLETE
            } else {
                NO_UNWIND_INFO
            };
            break;
        }
        slots[number] = returns_to;
        frames = number + 1;
        hash = mix(hash, returns_to);
        above = at + 16;
        at = callers;
    }
    Walked {
        frames,
        hash: told_from_none(hash),
        status,
    }
}

/// Reads a frame of the running program. `false` where there is no memory, or it is not there now.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
fn read(frame: &mut [u64; 2], at: u64) -> bool {
    let source = ptr::with_exposed_provenance::<c_void>(at as usize);
    // SAFETY: the helper checks the address, and writes 16 bytes or zeros.
    unsafe { bpf_probe_read_user(ptr::from_mut(frame).cast(), 16, source) == 0 }
}

/// The kernel's frames, behind the program's; their hash.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number, and not negative"
)]
fn walk_kernel(ctx: *mut c_void, space: u64, stack: &mut Stack) -> u64 {
    const BYTES: usize = 8 * MAX_KERNEL_FRAMES;
    let first = first_kernel_frame(stack);
    // SAFETY: the verifier knows the context, and that there is so much room behind 255 frames.
    let written = unsafe {
        let room = stack.frames.as_mut_ptr().add(first);
        bpf_get_stack(ctx, room.cast(), BYTES as u32, 0)
    };
    if written <= 0 {
        stack.head.kernel_frames = 0;
        return NO_HASH;
    }
    let frames = written as usize / 8;
    stack.head.kernel_frames = frames as u16;
    let mut hash = space;
    for number in 0..MAX_KERNEL_FRAMES {
        if number >= frames {
            break;
        }
        // SAFETY: as above: there is room for so many behind 255.
        hash = mix(hash, unsafe { *stack.frames.as_ptr().add(first + number) });
    }
    told_from_none(hash)
}

/// Where the kernel's frames begin: a number below 256, which the verifier sees, as it is read from
/// memory and masked.
#[inline(always)]
pub(crate) fn first_kernel_frame(stack: &Stack) -> usize {
    // SAFETY: a field of the head.
    let frames = unsafe { (&raw const stack.head.user_frames).read_volatile() };
    usize::from(frames) & 255
}

/// One more frame's part in a hash. One-to-one in each of the two.
#[inline(always)]
const fn mix(hash: u64, frame: u64) -> u64 {
    let mixed = (hash ^ frame).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

#[inline(always)]
const fn told_from_none(hash: u64) -> u64 {
    if hash == NO_HASH { 1 } else { hash }
}
