//! Addition that nothing can come between, which Rust offers on no target without compare-and-swap.

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
