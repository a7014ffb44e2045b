//! The GPU monitor, through the real nvml-wrapper, on simulated GPUs.
//!
//! Each test has a copy of the simulator of its own, and so GPUs of its own.

mod cost;
mod counters;
mod garbage;
mod hangs;
mod mig;
mod missing;
mod presets;
mod processes;
mod rates;
mod registration;
mod rig;
mod sessions;
mod transient;
mod xids;
