//! Bounds that the verifier sees. The compiler leaves out a mask that it knows to change nothing; the
//! verifier of kernels before 6.6 may not know that.

use core::arch::asm;

/// The low four bits of a number: a place among sixteen.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "BPF has 64 bits")]
pub fn of_sixteen(number: u8) -> usize {
    let mut place = u64::from(number);
    // SAFETY: one instruction that touches nothing but its operand.
    unsafe {
        asm!("{place} &= 15", place = inout(reg) place, options(pure, nomem, nostack));
    }
    // The compiler knows nothing of that instruction; this one is for it.
    place as usize & 15
}
