//! Layouts shared by the kernel programs and the agent, one file per probe family.
//!
//! Everything here is `#[repr(C)]`, of fixed width and without padding, because the same bytes
//! are written by a BPF program and read by the agent. This crate imports nothing of ours.

#![no_std]
#![deny(missing_docs)]

pub mod agents;
pub mod block;
pub mod cuda;
pub mod histogram;
pub mod net;
pub mod process;
pub mod profile;
pub mod sched;
pub mod swarm;
pub mod syscalls;
pub mod trace;

/// Tells aya that a layout is plain data, so that it may be read from and written to maps.
#[macro_export]
macro_rules! plain_data {
    ($($layout:ty),+ $(,)?) => {
        $(
            // SAFETY: `#[repr(C)]`, integers only, and no padding (asserted beside the layout), so
            // every bit pattern is a value and every byte is initialised.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $layout {}
        )+
    };
}
