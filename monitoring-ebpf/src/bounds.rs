//! Bounds that the verifier sees. The compiler leaves out a mask that it knows to change nothing; the
//! verifier of kernels before 6.6 may not know that.

use core::arch::asm;

/// The bits of a number that are in a mask, which is one less than a power of two: a place among that
/// many, or a length below it.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
pub fn within<const MASK: u64>(number: u64) -> usize {
    let mut place = number;
    // SAFETY: one instruction that touches nothing but its operand.
    unsafe {
        asm!("{place} &= {mask}", place = inout(reg) place, mask = const MASK, options(pure, nomem, nostack));
    }
    // The compiler knows nothing of that instruction; this one is for it.
    place as usize & MASK as usize
}
