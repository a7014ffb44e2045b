//! A thread's registers as it left its program. Where they are differs from machine to machine.

use aya_ebpf::{Global, programs::PerfEventContext};
use monitoring_ebpf::{ABSENT, task_storage::Task};

/// Offsets in `pt_regs`: instruction pointer, frame pointer, stack pointer, and what says in which
/// mode the CPU was.
#[unsafe(no_mangle)]
static INSTRUCTION_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static FRAME_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static STACK_POINTER_OFFSET: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static MODE_OFFSET: Global<u32> = Global::new(ABSENT);

/// Code segments of programs have the lowest privilege; there is one for those of 64 bits
/// (`__USER_CS` of the kernel's `arch/x86/include/asm/segment.h`).
#[cfg(not(bpf_target_arch = "aarch64"))]
mod machine {
    pub(super) const PROGRAM_BITS: u16 = 3;
    pub(super) const PROGRAM: u16 = 3;
    pub(super) const WIDTH_BITS: u16 = 0xffff;
    pub(super) const WIDE: u16 = 0x33;
}

/// `PSR_MODE_EL0t`, and the bit of 32-bit programs (`arch/arm64/include/uapi/asm/ptrace.h`).
#[cfg(bpf_target_arch = "aarch64")]
mod machine {
    pub(super) const PROGRAM_BITS: u16 = 0x0f;
    pub(super) const PROGRAM: u16 = 0;
    pub(super) const WIDTH_BITS: u16 = 0x1f;
    pub(super) const WIDE: u16 = 0;
}

/// Whether the event interrupted a program, and not the kernel.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the low bits are meant")]
pub(crate) fn in_program(ctx: &PerfEventContext) -> bool {
    // SAFETY: the verifier checks the access to the context.
    let mode = unsafe {
        #[cfg(not(bpf_target_arch = "aarch64"))]
        let word = &raw const (*ctx.ctx).regs.cs;
        #[cfg(bpf_target_arch = "aarch64")]
        let word = &raw const (*ctx.ctx).regs.pstate;
        word.read_volatile()
    };
    mode as u16 & machine::PROGRAM_BITS == machine::PROGRAM
}

/// What a walk over a stack begins with.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    pub(crate) instruction: u64,
    pub(crate) frame: u64,
    pub(crate) stack: u64,
    /// Whether the program has 64 bits.
    pub(crate) wide: bool,
}

impl Registers {
    /// The registers with which the task last entered the kernel, be it by an interrupt. `None` for
    /// a task that has none: threads of the kernel, and workers that it makes in a process.
    #[inline(always)]
    pub(crate) fn of(task: Task) -> Option<Self> {
        let saved = task.registers();
        let mode: u16 = saved.read(MODE_OFFSET.load());
        let stack = saved.read(STACK_POINTER_OFFSET.load());
        let is_program = mode & machine::PROGRAM_BITS == machine::PROGRAM;
        (is_program && stack != 0).then(|| Self {
            instruction: saved.read(INSTRUCTION_OFFSET.load()),
            frame: saved.read(FRAME_OFFSET.load()),
            stack,
            wide: mode & machine::WIDTH_BITS == machine::WIDE,
        })
    }
}
