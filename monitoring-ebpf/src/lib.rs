//! What the kernel programs share. One object per family is built from `src/bin`.
//!
//! This side knows no process names, no metrics and no configuration: only numbers that the
//! loader put into globals and maps.

#![no_std]
#![feature(asm_experimental_arch)]

pub mod agents;
pub mod atomic;
pub mod bounds;
pub mod iter;
pub mod lost;
pub mod object;
pub mod reason;
pub mod sk_storage;
pub mod switch;
pub mod task_storage;
pub mod trace;

/// A field offset or mask that the loader did not find on this kernel.
pub const ABSENT: u32 = u32::MAX;

/// Every kernel object's licence: some helpers are for GPL-compatible programs only.
#[macro_export]
macro_rules! object {
    () => {
        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

        /// Never reached. A loop, so that the verifier refuses a program that could panic.
        #[cfg(not(test))]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo) -> ! {
            loop {}
        }
    };
}
