//! The registers of a thread at a function's first or last instruction, by the C calling
//! convention of its machine.

use aya_ebpf::{bindings::pt_regs, helpers::bpf_probe_read_user};
use monitoring_common::cuda::{NO_ARGUMENT, lost::UNREADABLE};
use monitoring_ebpf::{bounds::within, lost::lost};

/// Arguments in registers, and where those on the stack begin, from the stack pointer.
#[cfg(bpf_target_arch = "x86_64")]
const IN_REGISTERS: (u8, u64) = (6, 8);
#[cfg(not(bpf_target_arch = "x86_64"))]
const IN_REGISTERS: (u8, u64) = (8, 0);

/// Positions that an argument may have: as many as a [`Hook`](monitoring_common::cuda::Hook) can
/// tell apart, so that any is a place in an array.
const POSITIONS: usize = 16;

/// The last of them.
const LAST: u64 = POSITIONS as u64 - 1;

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

    /// The argument in a register, by its position. All are read, and then one is chosen: of a place
    /// that is chosen before it is read the verifier knows nothing.
    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    fn in_register(self, position: u8) -> u64 {
        // SAFETY: the context is valid while the program runs.
        let read = |register: *const u64| unsafe { register.read_volatile() };
        // SAFETY: only addresses are taken.
        let [first, second, third, fourth, fifth, sixth] = unsafe {
            [
                read(&raw const (*self.0).rdi),
                read(&raw const (*self.0).rsi),
                read(&raw const (*self.0).rdx),
                read(&raw const (*self.0).rcx),
                read(&raw const (*self.0).r8),
                read(&raw const (*self.0).r9),
            ]
        };
        match position {
            0 => first,
            1 => second,
            2 => third,
            3 => fourth,
            4 => fifth,
            _ => sixth,
        }
    }

    #[cfg(not(bpf_target_arch = "x86_64"))]
    #[inline(always)]
    fn in_register(self, position: u8) -> u64 {
        self.arguments()[within::<LAST>(position.into())]
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

    /// The argument at a position; as [`Registers::at`], and cheaper.
    #[inline(always)]
    pub(crate) fn one(self, position: u8) -> u64 {
        let (in_registers, offset) = IN_REGISTERS;
        if position >= in_registers {
            if position == NO_ARGUMENT {
                return 0;
            }
            let place = offset + 8 * u64::from(position - in_registers);
            return user_word(self.stack() + place).unwrap_or(0);
        }
        self.in_register(position)
    }

    /// The arguments at four positions. One that cannot be read, or is [`NO_ARGUMENT`], is 0.
    #[inline(always)]
    pub(crate) fn at(self, positions: [u8; 4]) -> [u64; 4] {
        let registers = self.arguments();
        positions.map(|position| {
            let (in_registers, offset) = IN_REGISTERS;
            let value = registers[within::<LAST>(position.into())];
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

/// Eight halves of words of the process's memory. What cannot be read is counted.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
pub(crate) fn user_halves(address: u64) -> Option<[u32; 8]> {
    // SAFETY: as in `user_word`.
    let halves = unsafe { bpf_probe_read_user(address as usize as *const [u32; 8]) };
    if halves.is_err() {
        lost(UNREADABLE);
    }
    halves.ok()
}
