//! Operations that nothing can come between. Rust offers them on no target without
//! compare-and-swap, which BPF has only in newer instruction sets.

use core::arch::asm;

/// Adds to a counter that an interrupt, or another task on this CPU, may add to at the same time.
///
/// Families whose programs the kernel does not run inside each other need none of it: a per-CPU
/// value is then nobody else's.
#[inline(always)]
pub fn add(counter: *mut u64, more: u64) {
    // SAFETY: one instruction that touches nothing but the counter, which the verifier proves to be
    // a value of a map. Every kernel with BPF has it (`BPF_ATOMIC` with `BPF_ADD`, once `BPF_XADD`).
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {more}", counter = in(reg) counter, more = in(reg) more);
    }
}

/// Puts `new` where `old` is expected, if it is still there; what was there. Since 5.12.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub fn compare_exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let found;
    // SAFETY: one instruction that touches nothing but the word, which the verifier proves to be in
    // a value of a map (`BPF_ATOMIC` with `BPF_CMPXCHG`). What it finds comes in the first register.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inlateout("r0") old => found,
        );
    }
    found
}

/// Other machines have no such register. They only check this crate, and run none of it.
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub fn compare_exchange(_word: *mut u64, old: u64, _new: u64) -> u64 {
    old
}
