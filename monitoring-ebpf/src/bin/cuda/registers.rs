//! The registers of a thread at a function's first or last instruction, by the C calling
//! convention of its machine.

use aya_ebpf::{bindings::pt_regs, helpers::bpf_probe_read_user};
use monitoring_common::cuda::{NO_ARGUMENT, lost::UNREADABLE};
use monitoring_ebpf::{bounds::of_sixteen, lost::lost};

/// Arguments in registers, and where those on the stack begin, from the stack pointer.
#[cfg(bpf_target_arch = "x86_64")]
const IN_REGISTERS: (u8, u64) = (6, 8);
#[cfg(not(bpf_target_arch = "x86_64"))]
const IN_REGISTERS: (u8, u64) = (8, 0);

/// Positions that an argument may have: as many as a [`Hook`](monitoring_common::cuda::Hook) can
/// tell apart, so that any is a place in an array.
const POSITIONS: usize = 16;

/// What a return has taken off the stack: the return address, where calls put it there.
#[cfg(bpf_target_arch = "x86_64")]
pub(crate) const RETURN_ADDRESS: u64 = 8;
#[cfg(not(bpf_target_arch = "x86_64"))]
pub(crate) const RETURN_ADDRESS: u64 = 0;

/// A thread's registers.
#[derive(Clone, Copy)]
pub(crate) struct Registers(*const pt_regs);

impl Registers {
    /// The registers that a probe's context is.
    #[inline(always)]
    pub(crate) fn of(context: *const pt_regs) -> Self {
        Self(context)
    }

    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn stack(self) -> u64 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).rsp }
    }

    #[cfg(not(bpf_target_arch = "x86_64"))]
    #[inline(always)]
    pub(crate) fn stack(self) -> u64 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).sp }
    }

    /// Where the thread goes on: at an entry the function itself, at a return its caller.
    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn instruction(self) -> u64 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).rip }
    }

    #[cfg(not(bpf_target_arch = "x86_64"))]
    #[inline(always)]
    pub(crate) fn instruction(self) -> u64 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).pc }
    }

    /// What the function has returned, as far as CUDA's do: 32 bits.
    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub(crate) fn result(self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).rax as u32 }
    }

    #[cfg(not(bpf_target_arch = "x86_64"))]
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub(crate) fn result(self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.0).regs[0] as u32 }
    }

    /// All registers that may hold arguments, in their order, and zeros. The copy is what makes it
    /// possible to take one by a number that only the program's run knows.
    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    fn arguments(self) -> [u64; POSITIONS] {
        // SAFETY: the context is valid while the program runs.
        let registers = unsafe { &*self.0 };
        let pt_regs {
            rdi,
            rsi,
            rdx,
            rcx,
            r8,
            r9,
            ..
        } = *registers;
        [rdi, rsi, rdx, rcx, r8, r9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    #[cfg(not(bpf_target_arch = "x86_64"))]
    #[inline(always)]
    fn arguments(self) -> [u64; POSITIONS] {
        // SAFETY: the context is valid while the program runs.
        let registers = unsafe { &(*self.0).regs };
        core::array::from_fn(|place| if place < 8 { registers[place] } else { 0 })
    }

    /// The arguments at four positions. One that cannot be read, or is [`NO_ARGUMENT`], is 0.
    #[inline(always)]
    pub(crate) fn at(self, positions: [u8; 4]) -> [u64; 4] {
        let registers = self.arguments();
        positions.map(|position| {
            let (in_registers, offset) = IN_REGISTERS;
            let value = registers[of_sixteen(position)];
            if position < in_registers || position == NO_ARGUMENT {
                return value;
            }
            let place = offset + 8 * u64::from(position - in_registers);
            user_word(self.stack() + place).unwrap_or(0)
        })
    }
}

/// A word of the process's memory. What cannot be read is counted.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
pub(crate) fn user_word(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address, which a process may have made up.
    let word = unsafe { bpf_probe_read_user(address as usize as *const u64) };
    if word.is_err() {
        lost(UNREADABLE);
    }
    word.ok()
}

/// Half a word of the process's memory. What cannot be read is counted.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
pub(crate) fn user_half(address: u64) -> Option<u32> {
    // SAFETY: as in `user_word`.
    let half = unsafe { bpf_probe_read_user(address as usize as *const u32) };
    if half.is_err() {
        lost(UNREADABLE);
    }
    half.ok()
}
